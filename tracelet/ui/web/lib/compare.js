// Runs side by side: what differs, the best of every metric, their curves together, and parameters against metrics.
import { echarts } from "nicegui-echart";
import { get, query, view } from "tracelet-web/api.js";
import { Charts } from "tracelet-web/charts.js";
import { choice, empty, h, put } from "tracelet-web/dom.js";
import { date, duration, number, value } from "tracelet-web/format.js";
import { best, goalButton } from "tracelet-web/goals.js";
import { RunColours } from "tracelet-web/run_colours.js";
import { badge, patch, table } from "tracelet-web/widgets.js";
import { colour, css, onTheme } from "tracelet-web/theme.js";

const SYSTEM = /^(system|gpu)/;

class Compare {
  constructor(box, page) {
    this.box = box;
    this.page = page;
  }

  async start() {
    const ids = view.all("run");
    if (ids.length < 2) {
      put(this.box, h("h1", { class: "tl-hidden" }, "Compare"), empty("Nothing to compare yet", "Select two or more runs in the list, then press Compare or the C key.", h("p", {}, h("a", { href: "/" }, "All runs"))));
      return;
    }
    try {
      this.ids = ids;
      this.found = await get("compare", { run: ids });
    } catch (error) {
      put(this.box, h("h1", { class: "tl-hidden" }, "Compare"), empty("These runs cannot be compared", error.message));
      return;
    }
    this.place = new Map(this.found.runs.map((run, place) => [run.id, place]));
    this.colours = new RunColours(ids);
    const names = this.found.metrics.map((row) => row.name).filter((name) => !SYSTEM.test(name));
    const label = (one) => this.title(one.run) + (one.ranks > 1 && one.rank !== null ? ` rank ${one.rank}` : "");
    this.charts = new Charts(names.map((name) => ({ title: name, runs: ids, names: [name], place: (one) => this.colours.place(one.run), line: (one) => this.colours.line(one.run), label })));
    put(this.box, h("div", { class: "tl-title" }, h("h1", {}, `Compare ${ids.length} runs`), h("a", { class: "tl-button", href: "/api/report" + query({ run: ids }), download: "report.html" }, "Save as HTML")), (this.status = this.runs()), h("div", { class: "tl-cards" }, this.params(), (this.figures = this.best())), this.relation(),
      h("h2", { class: "tl-heading" }, "Curves"), h("div", { class: "tl-legend tl-hint" }, this.heads()), this.charts.box, h("div", { class: "tl-cards" }, this.code(), this.packages()));
    this.forget = onTheme(() => this.draw());
    this.draw();
    this.difference();
    this.page.watch(ids);
    this.box.dataset.ready = "yes";
  }

  title(id) {
    const run = this.found.runs[this.place.get(id)];
    const twins = this.found.runs.filter((other) => other.name === run.name).length > 1;
    return twins ? `${run.name} (${run.id.slice(0, 5)})` : run.name;
  }

  runs() {
    return h("section", { class: "tl-card" }, table(["Run", "Status", "Project", "Started", "Duration"], this.found.runs.map((run) => [h("span", {}, this.colours.swatch(run.id), h("a", { href: "/run/" + encodeURIComponent(run.id) }, this.title(run.id))), badge(run), run.project, date(run.started), duration((run.ended ?? Date.now() / 1000) - run.started)]), { label: "Runs" }));
  }

  heads() {
    return this.found.runs.map((run) => h("span", {}, this.colours.swatch(run.id), this.title(run.id)));
  }

  // Tables with a column per run: as wide as the page where there are many runs.
  card(...parts) {
    return h("section", { class: "tl-card tl-side-by-side" + (this.ids.length > 3 ? " tl-wide-card" : "") }, parts);
  }

  params() {
    const rows = this.found.params.filter((row) => row.differs), same = this.found.params.length - rows.length;
    return this.card(h("h2", {}, "Parameters that differ"), rows.length ? table(["Parameter", ...this.heads()], rows.map((row) => [row.name, ...row.values.map(value)]), { label: "Parameters that differ" }) : h("p", {}, "None"), h("p", { class: "tl-hint" }, `${same} ${same === 1 ? "parameter is" : "parameters are"} identical.`));
  }

  best() {
    const rows = this.found.metrics.filter((row) => !SYSTEM.test(row.name) && row.values.some((found) => found && !found.automatic));
    const cell = (row) => {
      const values = row.values.map((found) => found?.[row.goal || "last"]), top = best(values, row.goal);
      const goal = goalButton(row.name, row.goal, this.ids, this.found.read_only, () => this.renew());
      return [h("span", {}, row.name, " ", goal), ...values.map((found) => (top !== undefined && found === top ? h("b", { class: "tl-best" }, number(found)) : number(found)))];
    };
    const unknown = rows.some((row) => !row.goal) && h("p", { class: "tl-hint" }, "Metrics without a goal show their last value, and none is marked.");
    return this.card(h("h2", {}, "Best values"), rows.length ? table(["Metric", ...this.heads()], rows.map(cell), { label: "Best values" }) : h("p", {}, "No metrics."), unknown);
  }

  relation() {
    this.numeric = this.found.params.filter((row) => row.differs && row.values.some((found) => typeof found === "number" || typeof found === "string")).map((row) => row.name);
    this.targets = this.found.metrics.filter((row) => !SYSTEM.test(row.name) && row.values.some((found) => found && !found.automatic)).map((row) => row.name);
    if (!this.numeric.length || !this.targets.length) return null;
    this.parameter = this.numeric.includes(view.get("param")) ? view.get("param") : this.numeric[0];
    this.target = this.targets.includes(view.get("metric")) ? view.get("metric") : this.targets.at(-1);
    this.scatter = h("div", { class: "tl-canvas tl-tall", role: "img", "aria-label": "Parameter against metric" });
    this.parallel = h("div", { class: "tl-canvas tl-tall", role: "img", "aria-label": "Parallel coordinates of parameters and metric" });
    return h("section", { class: "tl-card tl-wide-card" }, h("h2", {}, "Parameters against a metric"), h("div", { class: "tl-bar" },
      choice("Parameter", this.numeric.map((name) => [name, name]), this.parameter, (param) => (view.set({ param }), (this.parameter = param), this.draw())),
      choice("Metric", this.targets.map((name) => [name, name]), this.target, (metric) => (view.set({ metric }), (this.target = metric), this.draw()))), h("div", { class: "tl-two" }, this.scatter, this.parallel));
  }

  draw() {
    if (!this.scatter) return;
    this.plots ??= [this.scatter, this.parallel].map((box) => echarts.init(box));
    this.sizes ??= [this.scatter, this.parallel].map((box, place) => {
      const observer = new ResizeObserver(() => this.plots[place].resize());
      observer.observe(box);
      return observer;
    });
    const text = css("--tl-muted"), line = css("--tl-line"), row = (table, name) => this.found[table].find((one) => one.name === name).values;
    const goal = this.found.metrics.find((one) => one.name === this.target).goal || "last", metric = row("metrics", this.target).map((found) => found?.[goal] ?? null), parameter = row("params", this.parameter);
    const kind = (values) => (values.every((found) => found === null || typeof found === "number") ? { type: "value", scale: true } : { type: "category", data: [...new Set(values.map((found) => String(found)))] });
    const axis = { axisLabel: { color: text }, axisLine: { lineStyle: { color: line } }, splitLine: { lineStyle: { color: line } }, nameTextStyle: { color: text } };
    const cell = (values, place) => (kind(values).type === "category" ? String(values[place]) : values[place]);
    const shown = (found) => h("div", { class: "tl-tip" }, h("b", {}, found.name ?? ""), h("div", {}, `${this.parameter} ${value(parameter[found.dataIndex])}`), h("div", {}, `${this.target} ${number(metric[found.dataIndex])}`));
    this.plots[0].setOption({ animation: false, grid: { left: 16, right: 20, top: 30, bottom: 34, containLabel: true }, tooltip: { confine: true, backgroundColor: css("--tl-surface"), borderColor: line, textStyle: { color: css("--tl-text") }, formatter: shown },
      xAxis: { ...axis, ...kind(parameter), name: this.parameter, nameLocation: "middle", nameGap: 28 }, yAxis: { ...axis, type: "value", scale: true, name: `${this.target} (${goal})`, nameTextStyle: { color: text, align: "left" } },
      series: [{ type: "scatter", symbolSize: 13, data: this.found.runs.map((run, place) => ({ name: this.title(run.id), value: [cell(parameter, place), metric[place]], itemStyle: { color: colour(this.colours.place(run.id)) } })) }] }, true);
    const names = this.numeric.slice(0, 7), columns = [...names.map((name) => [name, row("params", name)]), [this.target, metric]];
    this.plots[1].setOption({ animation: false, parallel: { left: 40, right: 90, top: 44, bottom: 24 }, parallelAxis: columns.map(([name, values], dim) => ({ dim, name, ...kind(values), nameTextStyle: { color: text, fontSize: 11 }, axisLabel: { color: text }, axisLine: { lineStyle: { color: text } } })),
      series: [{ type: "parallel", lineStyle: { width: 2.5, opacity: 0.85 }, data: this.found.runs.map((run, place) => ({ name: this.title(run.id), value: columns.map(([, values]) => cell(values, place) ?? "-"), lineStyle: { type: this.colours.line(run.id), color: colour(this.colours.place(run.id)) } })) }] }, true);
  }

  code() {
    const rows = this.found.code, runs = this.found.runs.map((run) => [run.id, this.title(run.id)]);
    const chosen = (name, other) => (runs.some(([id]) => id === view.get(name)) ? view.get(name) : other);
    const aged = [...this.found.runs].sort((one, other) => one.started - other.started);
    this.pair = { from: chosen("from", aged[0].id), to: chosen("to", aged.at(-1).id) };
    this.changes = h("div", { class: "tl-changes", "aria-live": "polite" });
    const pick = (name, label) => choice(label, runs, this.pair[name], (id) => (view.set({ [name]: id }), (this.pair[name] = id), this.difference()));
    return h("section", { class: "tl-card tl-side-by-side tl-wide-card" }, h("h2", {}, "Code"), rows.length ? table(["", ...this.heads()], rows.map((row) => [row.name, ...row.values.map((found) => (row.name === "commit" && found ? found.slice(0, 12) : value(found)))]), { label: "Code" }) : h("p", {}, "The code of these runs was not recorded."),
      rows.length ? [h("h3", {}, "Changes"), h("div", { class: "tl-bar" }, pick("from", "From"), pick("to", "To")), this.changes] : null);
  }

  async difference() {
    if (!this.changes?.isConnected) return;
    put(this.changes, h("p", { class: "tl-hint" }, "Comparing ..."));
    const asked = { ...this.pair };
    const found = await get("compare/code", { first: asked.from, second: asked.to }).catch((error) => ({ description: error.message, text: "" }));
    if (asked.from !== this.pair.from || asked.to !== this.pair.to) return;
    put(this.changes, h("p", { class: "tl-hint" }, found.description, found.truncated ? " It is too long and was truncated." : ""), found.text ? patch(found.text) : null);
    this.changes.dataset.description = found.description;
  }

  packages() {
    const rows = this.found.packages;
    return rows.length ? this.card(h("h2", {}, "Packages that differ"), table(["Package", ...this.heads()], rows.map((row) => [row.name, ...row.values.map(value)]), { label: "Packages" })) : null;
  }

  changed() {
    this.charts?.refresh();
    this.renew();
  }

  // Statuses, best values and plots move with the runs; what else is compared was there when they started.
  async renew() {
    this.stale = true;
    if (!this.found || this.renewing) return;
    this.renewing = true;
    while (this.stale) {
      this.stale = false;
      const found = await get("compare", { run: this.ids }).catch(() => null); // one was deleted: what is known stays
      if (!found || !this.box.isConnected) break;
      this.found = found;
      for (const [name, make] of [["status", this.runs], ["figures", this.best]]) {
        const fresh = make.call(this), [old, now] = [this[name], fresh].map((section) => section.querySelector("table"));
        if (old && now) old.replaceWith(now); // what is around it keeps the focus and how far it was scrolled
        else (this[name].replaceWith(fresh), (this[name] = fresh));
      }
      this.draw();
    }
    this.renewing = false;
  }

  stop() {
    this.charts?.stop();
    this.forget?.();
    this.plots?.forEach((plot) => plot.dispose());
    this.sizes?.forEach((observer) => observer.disconnect());
  }
}

export async function start(box, page) {
  const compare = new Compare(box, page);
  await compare.start();
  return compare;
}
