// One chart of one or several metrics. Fetches and draws only while it is in sight; fetches finer points when zoomed.
import { echarts } from "nicegui-echart";
import { get, query } from "tracelet-web/api.js";
import { h, put, notify } from "tracelet-web/dom.js";
import { date, duration, mark, number, size } from "tracelet-web/format.js";
import { colour, css, onTheme } from "tracelet-web/theme.js";

const MOST_ROWS = 14; // of a tooltip
const PAUSE = 250; // milliseconds between fetches of one chart: zooming by wheel asks for many

const sight = new IntersectionObserver(
  (entries) => entries.forEach((entry) => entry.target.chart?.seen(entry.isIntersecting)),
  { rootMargin: "150px" },
);

// A page behind another one, or on a screen that is off, asks for nothing; it catches up when it is seen again.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) document.querySelectorAll(".tl-chart").forEach((box) => box.chart?.seen(box.chart.visible));
});

export class Chart {
  // spec: title, runs [id], names [metric], label(series) -> text, place(series) -> colour's place
  constructor(spec, settings) {
    this.spec = spec;
    this.settings = settings;
    this.visible = false;
    this.stale = true;
    this.canvas = h("div", { class: "tl-canvas", role: "img", "aria-label": `Chart of ${spec.title}` });
    this.status = h("span", { class: "tl-chart-status" });
    this.box = h("section", { class: "tl-chart", tabindex: "-1", "aria-label": spec.title },
      h("div", { class: "tl-chart-head" }, h("h3", { title: spec.title }, spec.title), this.status, this.menu()), this.canvas);
    this.box.chart = this;
    this.canvas.addEventListener("dblclick", () => this.reset());
    sight.observe(this.box);
    this.forget = onTheme(() => this.draw());
    this.sizes = new ResizeObserver(() => this.plot?.resize());
    this.sizes.observe(this.canvas);
  }

  menu() {
    const item = (title, action) => h("button", { type: "button", onclick: (event) => (event.target.closest("details").open = false, action()) }, title);
    return h("details", { class: "tl-menu" },
      h("summary", { "aria-label": `Export or reset ${this.spec.title}` }, "⋯"),
      h("div", { class: "tl-menu-items" }, item("Save as PNG", () => this.save("png")), item("Save as SVG", () => this.save("svg")),
        item("Save as CSV", () => this.csv()), item("Reset zoom", () => this.reset())));
  }

  seen(visible) {
    this.visible = visible;
    if (visible && this.stale) this.fetch();
  }

  refresh() {
    this.stale = true;
    if (this.visible && !document.hidden) this.fetch();
  }

  parameters() {
    const width = Math.max(300, Math.min(2000, Math.round((this.canvas.clientWidth || 500) * 1.5)));
    const [from, to] = this.range ?? [];
    return { run: this.spec.runs, name: this.spec.names, x: this.settings.x, points: width, from, to, ranks: this.settings.ranks, smooth: this.settings.smooth || undefined, smoothing: this.settings.smooth ? this.settings.smoothing : undefined };
  }

  // The axis of this chart: the one chosen, or what the program has defined for its metric.
  get axis() {
    return this.settings.x === "auto" ? this.data?.find((one) => one.axis)?.axis ?? "step" : this.settings.x;
  }

  async fetch() {
    if (this.busy) return (this.again = true);
    this.busy = true;
    this.stale = false;
    try {
      const found = await get("series", this.parameters());
      if (found.x === this.settings.x) this.data = found.series;
      this.draw();
    } catch (error) {
      put(this.status, error.message);
    }
    setTimeout(() => {
      this.busy = false;
      if (this.again) (this.again = false), this.fetch();
    }, PAUSE);
  }

  draw() {
    if (!this.data || !this.box.isConnected) return;
    if (!this.plot) {
      this.plot = echarts.init(this.canvas, null, { renderer: "canvas" });
      this.plot.group = `${this.settings.group ?? "tracelet"} ${this.axis}`; // only equal axes are zoomed together
      echarts.connect(this.plot.group);
      this.plot.on("datazoom", () => this.zoomed());
    }
    const fresh = !this.plot.getOption()?.series;
    this.plot.setOption(this.options(), { replaceMerge: ["series"], lazyUpdate: true });
    if (fresh) this.plot.dispatchAction({ type: "takeGlobalCursor", key: "dataZoomSelect", dataZoomSelectActive: true });
    const points = this.data.reduce((sum, one) => sum + one.count, 0);
    const wrong = this.data.reduce((sum, one) => sum + one.nan.length + one.up.length + one.down.length, 0);
    const words = [this.nothing(), wrong ? `${wrong} NaN or inf` : "", this.off ? `${this.off} off scale` : ""];
    put(this.status, words.filter(Boolean).join(" · "));
    this.box.dataset.points = points;
    const last = this.data[0]?.y.at(-1);
    this.box.dataset.last = last ?? "";
    this.canvas.setAttribute("aria-label", `Chart of ${this.spec.title}: ${points} points, last ${number(last)}`);
  }

  nothing() {
    if (!this.data.length) return "no points";
    return this.data.some((one) => one.x.length) ? "" : this.axis === "epoch" ? "no epochs recorded" : "no points";
  }

  reset() {
    const count = this.plot?.getOption().dataZoom.length ?? 0;
    for (let place = 0; place < count; place++) this.plot.dispatchAction({ type: "dataZoom", dataZoomIndex: place, start: 0, end: 100 });
  }

  zoomed() {
    const zooms = this.plot.getOption().dataZoom.filter((zoom) => Number.isFinite(zoom.start));
    const start = Math.max(...zooms.map((zoom) => zoom.start)), end = Math.min(...zooms.map((zoom) => zoom.end));
    const [low, high] = this.wholeExtent;
    const range = start <= 0.01 && end >= 99.99 ? undefined : [low + ((high - low) * start) / 100, low + ((high - low) * end) / 100];
    if (String(range) === String(this.range)) return;
    this.range = range;
    this.refresh();
  }

  options() {
    const text = css("--tl-muted"), line = css("--tl-line");
    const extent = this.extent();
    this.off = this.data.reduce((sum, one) => sum + one.y.filter((found) => found !== null && this.drawable(found) === null).length, 0);
    const scale = this.settings.outliers ? this.inner() : {};
    return {
      animation: false,
      grid: { left: 8, right: 14, top: 14, bottom: 8, containLabel: true },
      textStyle: { fontFamily: "system-ui, sans-serif" },
      xAxis: { type: "value", minInterval: this.axis === "step" ? 1 : undefined, min: extent[0], max: extent[1], axisLine: { lineStyle: { color: line } },
        axisLabel: { color: text, hideOverlap: true, showMinLabel: extent[0] === 0, formatter: (found) => this.tick(found) }, splitLine: { show: false }, axisPointer: { label: { show: false } } },
      yAxis: { type: "value", scale: true, ...this.yRange(), ...scale, axisLabel: { color: text, formatter: (found) => this.mark(found) },
        splitLine: { lineStyle: { color: line } } },
      tooltip: { trigger: "axis", confine: true, backgroundColor: css("--tl-surface"), borderColor: line, textStyle: { color: css("--tl-text"), fontSize: 12 },
        axisPointer: { type: "line", lineStyle: { color: text, type: "dashed" } }, formatter: (found) => this.tip(found) },
      dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, moveOnMouseMove: "shift" }],
      toolbox: { show: true, itemSize: 0, feature: { dataZoom: { show: true, yAxisIndex: "none", filterMode: "none" } }, top: -40 },
      series: this.data.flatMap((one, place) => this.lines(one, place)),
    };
  }

  // The whole axis, so that zooming is a part of it whatever was fetched.
  extent() {
    if (!this.range) {
      const all = this.data.flatMap((one) => (one.x.length ? extremes(one.x) : []));
      if (this.settings.extent) all.push(...this.settings.extent());
      this.wholeExtent = all.length ? [Math.min(...all), Math.max(...all)] : [0, 1];
    }
    return this.wholeExtent ?? [0, 1];
  }

  // On a logarithmic axis the logarithm is drawn, so that the axis fits the range of the data and not whole decades.
  // Zero and below have none: they are gaps, and counted among the points off scale.
  drawable(found) {
    if (!this.settings.log || found === null) return found;
    return found > 0 ? Math.log10(found) : null;
  }

  inner() {
    const all = this.data.flatMap((one) => one.y.map((found) => this.drawable(found)).filter((found) => found !== null)).sort((a, b) => a - b);
    if (all.length < 20) return {};
    const low = all[Math.floor(all.length * 0.01)], high = all[Math.ceil(all.length * 0.99) - 1];
    const room = (high - low) * 0.05 || 1, [min, max] = [low - room, high + room];
    this.off += all.filter((found) => found < min || found > max).length;
    return { min, max };
  }

  lines(one, place) {
    const tint = colour(this.spec.place?.(one) ?? place);
    const name = this.spec.label?.(one) ?? one.name;
    const points = one.x.map((at, index) => [at, this.drawable(one.y[index]), one.y[index]]);
    const shared = { name, type: "line", showSymbol: one.x.length < 30, symbolSize: 5, itemStyle: { color: tint }, emphasis: { disabled: true } };
    const line = this.spec.line?.(one) ?? "solid", smooth = Boolean(one.smooth);
    const found = [{ ...shared, data: points, lineStyle: { type: line, width: smooth ? 1 : 1.8, opacity: smooth ? 0.28 : 1 }, sampling: undefined, z: 2 }];
    if (smooth) found.push({ ...shared, name: name + " (smoothed)", data: one.x.map((at, index) => [at, this.drawable(one.smooth[index]), one.smooth[index]]), showSymbol: false, lineStyle: { type: line, width: 2 }, z: 3 });
    const finite = points.map((point) => point[1]).filter((value) => value !== null);
    const low = finite.length ? Math.min(...finite) : 1, high = finite.length ? Math.max(...finite) : 1;
    for (const [kind, symbol, at, xs] of [["NaN", "diamond", low, one.nan], ["+inf", "triangle", high, one.up], ["-inf", "path://M0,0 L10,0 L5,10 z", low, one.down]]) {
      if (xs.length) found.push({ name: `${name}: ${kind}`, type: "scatter", symbol, symbolSize: 9, itemStyle: { color: css("--tl-bad") }, data: xs.map((x) => [x, at, kind]), z: 4 });
    }
    if (one.band) found.push(...this.bands(one.band, name, tint));
    return found;
  }

  bands(band, name, tint) {
    const stack = `${name}-band`;
    const base = { type: "line", stack, stackStrategy: "all", symbol: "none", lineStyle: { opacity: 0 }, z: 1, silent: true, tooltip: { show: false } };
    return [
      { ...base, name: `${name} min`, data: band.x.map((x, i) => [x, this.drawable(band.min[i])]) },
      { ...base, name: `${name} to max`, data: band.x.map((x, i) => [x, this.drawable(band.min[i]) === null ? null : this.drawable(band.max[i]) - this.drawable(band.min[i])]), areaStyle: { color: tint, opacity: 0.18 } },
    ];
  }

  // Bytes and percent with their units, which the names of the system metrics end with. `digits`: so many that the marks
  // of an axis differ.
  amount(found, apart) {
    const [name] = this.spec.names;
    if (/bytes(_per_second)?$/.test(name) && Number.isFinite(found)) return size(Math.abs(found), apart).replace(/^/, found < 0 ? "-" : "") + (/second$/.test(name) ? "/s" : "");
    const shown = apart ? mark(found, apart) : number(found);
    return /_percent$/.test(name) && Number.isFinite(found) ? `${shown} %` : shown;
  }

  // A share of a whole is read against the whole.
  yRange() {
    const all = this.data.flatMap((one) => one.y).filter((found) => found !== null);
    const [low, high] = extremes(all);
    this.apart = (high - low) / 5 || 0;
    if (!this.settings.log && /_percent$/.test(this.spec.names[0]) && low >= 0 && high <= 100) return { min: 0, max: 100 };
    if (this.settings.log && Math.log10(high / low) >= 2) return { minInterval: 1 }; // marks at decades
    return {};
  }

  mark(found) {
    if (!this.settings.log) return this.amount(found, this.apart);
    return this.amount(Number((10 ** found).toPrecision(3)));
  }

  tick(found) {
    if (this.axis === "relative") return duration(found);
    if (this.axis === "time") return date(found).slice(11);
    return mark(found, 0);
  }

  tip(found) {
    const all = (Array.isArray(found) ? found : [found]).filter((row) => row.value && !/ (min|to max)$/.test(row.seriesName) && !(this.settings.smooth && !/\(smoothed\)$/.test(row.seriesName) && row.seriesType === "line"));
    const rows = all.sort((one, other) => other.value[1] - one.value[1]).slice(0, MOST_ROWS);
    if (!rows.length) return "";
    const at = rows[0].value[0];
    const title = ({ relative: "", time: "" }[this.axis] ?? `${this.axis} `) + (this.axis === "time" ? date(at) : this.tick(at));
    return h("div", { class: "tl-tip" }, h("div", { class: "tl-tip-title" }, title), rows.map((row) => h("div", { class: "tl-tip-row" },
      h("i", { style: { background: row.color } }), h("span", {}, row.seriesName), h("b", {}, typeof row.value[2] === "string" ? row.value[2] : this.amount(row.value[2])))), all.length > rows.length && h("div", { class: "tl-tip-title" }, `+${all.length - rows.length} more`));
  }

  save(kind) {
    const place = document.createElement("div");
    const size = { width: 960, height: 480 };
    const plot = echarts.init(place, null, { renderer: kind === "svg" ? "svg" : "canvas", ssr: kind === "svg", devicePixelRatio: 2, ...size });
    plot.setOption({ ...this.options(), backgroundColor: css("--tl-surface"), title: { text: this.spec.title, left: 12, top: 6, textStyle: { fontSize: 14, color: css("--tl-text") } }, grid: { left: 12, right: 20, top: 44, bottom: 12, containLabel: true } });
    const address = kind === "svg" ? "data:image/svg+xml;charset=utf-8," + encodeURIComponent(plot.renderToSVGString()) : plot.getDataURL({ type: "png", pixelRatio: 2 });
    plot.dispose();
    download(address, `${this.spec.title.replace(/[^\w.-]+/g, "_")}.${kind}`);
    this.box.dataset.saved = kind;
    notify(`Saved ${this.spec.title} as ${kind.toUpperCase()}`);
  }

  csv() {
    download("/api/series" + query({ run: this.spec.runs, name: this.spec.names, format: "csv" }), "");
  }

  stop() {
    sight.unobserve(this.box);
    this.sizes.disconnect();
    this.forget();
    this.plot?.dispose();
  }
}

const extremes = (values) => values.reduce(([low, high], found) => [Math.min(low, found), Math.max(high, found)], [Infinity, -Infinity]);

function download(address, name) {
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
