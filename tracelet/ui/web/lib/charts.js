// Many charts in sections by prefix, with one toolbar for all of them; its settings are part of the URL.
import { choice, empty, h, put } from "tracelet-web/dom.js";
import { view } from "tracelet-web/api.js";
import { Chart } from "tracelet-web/chart.js";

export const AXES = [["auto", "Default"], ["step", "Step"], ["epoch", "Epoch"], ["relative", "Time since start"], ["time", "Wall time"]];

const SMOOTHINGS = [["ema", "Average (EMA)"], ["time", "EMA along x"], ["mean", "Running mean"], ["gaussian", "Gaussian"]];

export class Charts {
  // specs: [{title, runs, names, label, place}], fixed: settings that cannot be chosen
  constructor(specs, fixed = {}) {
    this.settings = { x: view.get("x", "auto"), smooth: Number(view.get("smooth", "0")) || 0, smoothing: view.get("smoothing", "ema"), log: view.get("log") === "1",
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
    return h("div", { class: "tl-bar" }, search,
      !this.fixed.x && choice("X axis", AXES, this.settings.x, (x) => this.set("x", x, x, true)),
      this.smoothing(), toggle("log", "Log scale"), toggle("outliers", "Ignore outliers"),
      choice("Ranks", [["band", "Band"], ["lines", "Lines"], ["lowest", "Aggregate"]], this.settings.ranks, (ranks) => this.set("ranks", ranks, ranks, true)));
  }

  // A slider and the number; the averages take the weight of the past, the windows a number of points.
  smoothing() {
    const share = () => ["ema", "time"].includes(this.settings.smoothing);
    const inputs = ["range", "number"].map((type) => h("input", { type, min: 0, value: this.settings.smooth, class: type === "number" ? "tl-number" : null, "aria-label": type === "number" ? "Amount of smoothing" : "Smoothing",
      oninput: (event) => {
        const amount = Math.max(0, Math.min(share() ? 0.999 : 1000, Number(event.target.value) || 0));
        for (const input of inputs) if (input !== event.target) input.value = amount;
        this.set("smooth", amount, amount ? String(amount) : "", "keep");
      } }));
    const scale = () => inputs.forEach((input) => ((input.max = share() ? (input.type === "range" ? 0.99 : 0.999) : input.type === "range" ? 200 : 1000), (input.step = share() ? (input.type === "range" ? 0.01 : 0.001) : 1), (input.value = this.settings.smooth)));
    scale();
    const kind = choice("Smoothing", SMOOTHINGS, this.settings.smoothing, (smoothing) => {
      const before = share();
      this.set("smoothing", smoothing, smoothing === "ema" ? "" : smoothing, "keep");
      if (share() !== before) this.set("smooth", 0, "", "keep");
      scale();
    });
    return h("span", { class: "tl-field" }, kind, inputs);
  }

  // fetch: true to begin anew, "keep" for other values of the same points
  set(name, value, text, fetch = false) {
    this.settings[name] = value;
    view.set({ [name]: text });
    for (const chart of this.charts) {
      if (fetch === "keep") chart.refresh();
      else if (fetch) (chart.range = undefined), chart.plot?.dispose(), (chart.plot = undefined), (chart.data = undefined), chart.refresh();
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
