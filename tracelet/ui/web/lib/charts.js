// Many charts in sections by prefix, with one toolbar for all of them; its settings are part of the URL.
import { choice, empty, h, put } from "tracelet-web/dom.js";
import { view } from "tracelet-web/api.js";
import { Chart } from "tracelet-web/chart.js";

export const AXES = [["auto", "Default"], ["step", "Step"], ["epoch", "Epoch"], ["relative", "Time since start"], ["time", "Wall time"]];

export class Charts {
  // specs: [{title, runs, names, label, place}], fixed: settings that cannot be chosen
  constructor(specs, fixed = {}) {
    this.settings = { x: view.get("x", "auto"), smooth: Number(view.get("smooth", "0")) || 0, log: view.get("log") === "1",
      outliers: view.get("outliers") === "1", ranks: view.get("ranks", "band"), ...fixed };
    this.fixed = fixed;
    this.charts = [];
    this.body = h("div", { class: "tl-sections" });
    this.box = h("div", {}, this.bar(), this.body);
    this.show(specs);
  }

  bar() {
    const search = h("input", { type: "search", placeholder: "Search metrics  ( / )", "aria-label": "Search metrics", "data-search": true, value: view.get("q"),
      oninput: (event) => (view.set({ q: event.target.value }), this.filter()) });
    const toggle = (name, title) => h("label", { class: "tl-check" }, h("input", { type: "checkbox", checked: this.settings[name],
      onchange: (event) => this.set(name, event.target.checked, event.target.checked ? "1" : "") }), title);
    const smooth = h("label", { class: "tl-field" }, h("span", {}, "Smoothing"), h("input", { type: "range", min: 0, max: 0.99, step: 0.01,
      value: this.settings.smooth, "aria-label": "Smoothing", oninput: (event) => this.set("smooth", Number(event.target.value), event.target.value) }));
    return h("div", { class: "tl-bar" }, search,
      !this.fixed.x && choice("X axis", AXES, this.settings.x, (x) => this.set("x", x, x, true)),
      smooth, toggle("log", "Log scale"), toggle("outliers", "Ignore outliers"),
      choice("Ranks", [["band", "Band"], ["lines", "Lines"], ["lowest", "Aggregate"]], this.settings.ranks, (ranks) => this.set("ranks", ranks, ranks, true)));
  }

  set(name, value, text, fetch = false) {
    this.settings[name] = value;
    view.set({ [name]: text });
    for (const chart of this.charts) {
      if (fetch) (chart.range = undefined), chart.plot?.dispose(), (chart.plot = undefined), (chart.data = undefined), chart.refresh();
      else chart.draw();
    }
  }

  show(specs) {
    this.charts.forEach((chart) => chart.stop());
    this.charts = specs.map((spec) => new Chart(spec, this.settings));
    const sections = new Map();
    for (const chart of this.charts) {
      const prefix = chart.spec.title.includes("/") ? chart.spec.title.split("/")[0] : "";
      if (!sections.has(prefix)) sections.set(prefix, []);
      sections.get(prefix).push(chart);
    }
    put(this.body, [...sections].sort(([a], [b]) => (a === "") - (b === "")).map(([prefix, charts]) => h("details", { class: "tl-section" + (charts.length === 1 ? " tl-one" : ""), open: true },
      h("summary", {}, h("h2", {}, prefix || "metrics"), h("span", {}, String(charts.length))), h("div", { class: "tl-charts" }, charts.map((chart) => chart.box)))));
    this.none = empty("No metrics match", "Change the search.");
    this.none.hidden = true;
    this.body.append(this.none);
    this.filter();
  }

  filter() {
    const wanted = view.get("q").toLowerCase();
    let shown = 0;
    for (const chart of this.charts) {
      chart.box.hidden = !chart.spec.title.toLowerCase().includes(wanted);
      shown += !chart.box.hidden;
    }
    for (const section of this.body.querySelectorAll(".tl-section")) section.hidden = !section.querySelector(".tl-chart:not([hidden])");
    this.none.hidden = shown > 0 || !this.charts.length;
  }

  refresh() {
    this.charts.forEach((chart) => chart.refresh());
  }

  step(by) {
    const shown = this.charts.filter((chart) => !chart.box.hidden);
    const at = shown.findIndex((chart) => chart.box === document.activeElement);
    const next = shown[Math.max(0, Math.min(shown.length - 1, at + by))];
    next?.box.focus();
    next?.box.scrollIntoView({ block: "center" });
  }

  stop() {
    this.charts.forEach((chart) => chart.stop());
  }
}
