// Where the time of a run went: a timeline of all ranks that zooms from the run to one iteration, shares, findings.
import { get } from "tracelet-web/api.js";
import { button, code, empty, h, put } from "tracelet-web/dom.js";
import { duration, number } from "tracelet-web/format.js";
import { table } from "tracelet-web/widgets.js";
import { colour, css, onTheme } from "tracelet-web/theme.js";

const ROW = 20, GAP = 14, HEAD = 24;

export class Timeline {
  constructor(run) {
    this.run = run;
    this.canvas = h("canvas", { class: "tl-timeline", tabindex: "0", role: "img", "aria-label": "Timeline of spans. Press plus or minus to zoom, the arrow keys to move, 0 to show the whole run." });
    this.tip = h("div", { class: "tl-span-tip", role: "status" });
    this.where = h("span", { class: "tl-hint" });
    this.legend = h("div", { class: "tl-legend" });
  }

  async start() {
    const [shares, spans] = await Promise.all([get(`runs/${encodeURIComponent(this.run)}/shares`), this.fetch()]);
    if (!spans.rows.length) return empty("No spans yet", "With Lightning, spans are recorded automatically. In other code, create them with:", code('with tracelet.span("load"):\n    ...'));
    this.listen();
    const bar = h("div", { class: "tl-bar" }, button("Zoom in", () => this.zoom(0.5)), button("Zoom out", () => this.zoom(2)), button("Whole run", () => this.look(...this.spans.whole)), button("One iteration", () => this.iteration()), this.where);
    this.sizes = new ResizeObserver(() => this.draw());
    this.sizes.observe(this.canvas);
    this.forget = onTheme(() => this.draw());
    requestAnimationFrame(() => this.draw());
    return [this.findings(shares), h("section", { class: "tl-card tl-wide-card" }, h("h2", {}, "Timeline"), bar, this.canvas, this.tip, this.legend), h("div", { class: "tl-cards" }, this.parts(shares), this.kinds(shares))];
  }

  findings(shares) {
    const good = shares.goodput === null ? null : h("div", { class: "tl-big" }, h("b", {}, `${(shares.goodput * 100).toFixed(1)} %`), h("span", {}, "goodput: time spent in forward, backward and optimizer"));
    const words = shares.findings.length ? h("ul", {}, shares.findings.map((found) => h("li", {}, found))) : h("p", {}, "No findings.");
    return h("section", { class: "tl-card tl-wide-card tl-findings" }, good, h("div", {}, h("h2", {}, "Findings"), words));
  }

  parts(shares) {
    const parts = shares.parts, whole = parts.reduce((sum, part) => sum + part.seconds, 0) || 1;
    return h("section", { class: "tl-card" }, h("h2", {}, "Where the time went"), parts.map((part) => h("div", { class: "tl-share" }, h("span", {}, words(part.name)),
      h("div", { class: "tl-share-bar" }, h("i", { style: { width: `${(100 * part.seconds) / whole}%`, background: this.tint(part.name) } })), h("b", {}, `${((100 * part.seconds) / whole).toFixed(1)} %`))));
  }

  kinds(shares) {
    return h("section", { class: "tl-card" }, h("h2", {}, "All spans"), table(["Span", "Count", "Total", "Mean", "p95", "Max"], shares.kinds.map((kind) => [words(kind.name), number(kind.count), duration(kind.seconds), duration(kind.mean), duration(kind.p95), duration(kind.longest)]), { label: "All spans" }));
  }

  async fetch(range) {
    const origin = this.spans?.origin ?? 0;
    const asked = range ? { from: origin + range[0], to: origin + range[1] } : {};
    this.spans = await get(`runs/${encodeURIComponent(this.run)}/spans`, { ...asked, width: Math.round(this.canvas.clientWidth || 1200) });
    this.range = range ?? this.spans.whole;
    return this.spans;
  }

  look(low, high) {
    const [first, last] = this.spans.whole, least = 1e-5;
    if (high - low < least) high = low + least;
    const width = Math.min(high - low, last - first);
    low = Math.max(first, Math.min(low, last - width));
    this.range = [low, low + width];
    this.draw();
    clearTimeout(this.wait);
    this.wait = setTimeout(() => this.fetch(this.range).then(() => this.draw()), 120);
  }

  zoom(factor, at = 0.5) {
    const [low, high] = this.range, middle = low + (high - low) * at;
    this.look(middle - (middle - low) * factor, middle + (high - middle) * factor);
  }

  async iteration() {
    const of = (name) => this.spans.rows.filter((row) => row[2] === this.spans.names.indexOf(name));
    const trained = of("training_single_iteration"), rows = trained.length ? trained : of("validation_single_iteration");
    const one = rows[Math.floor(rows.length / 2)];
    if (one) this.look(one[3] - one[4] * 0.1, one[3] + one[4] * 1.1);
  }

  tint(name) {
    name = { forward: "model_forward", backward: "model_backward", loading: "data_loading", optimizer: "optimizer_update", logging: "metric_logging", transfer: "batch_transfer" }[name] ?? name;
    if (name === "other") return css("--tl-muted");
    const fixed = ["model_forward", "model_backward", "data_loading", "optimizer_update", "callbacks", "zero_grad", "metric_logging", "batch_transfer"].indexOf(name);
    if (name === "validation") return colour(5);
    if (/^checkpoint|_checkpoint/.test(name)) return colour(8);
    if (/initialization/.test(name)) return colour(9);
    if (fixed >= 0) return colour([0, 1, 2, 3, 4, 5, 6, 7][fixed]);
    if (/iteration/.test(name)) return css("--tl-span-2");
    if (/loop|application/.test(name)) return css("--tl-span-1");
    return colour([...name].reduce((sum, letter) => sum + letter.charCodeAt(0), 0));
  }

  lanes() {
    let top = HEAD;
    return Object.fromEntries(Object.entries(this.spans.depths).map(([rank, depth]) => {
      const own = [rank, { top, depth }];
      top += depth * ROW + GAP;
      return own;
    }));
  }

  draw() {
    if (!this.canvas.isConnected) return;
    const { rows, names, depths } = this.spans, [low, high] = this.range, lanes = this.lanes(), many = Object.keys(depths).length > 1;
    const width = this.canvas.clientWidth, height = HEAD + Object.values(depths).reduce((sum, depth) => sum + depth * ROW + GAP, 0);
    this.canvas.style.height = height + "px";
    const scale = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * scale, height: height * scale });
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    const at = (moment) => ((moment - low) / (high - low)) * width;
    this.axis(pen, width, height, low, high, at);
    this.drawn = [];
    const used = new Map();
    for (const row of rows) {
      const [rank, depth, kind, start, length] = row;
      const x = at(start), wide = Math.max(1, (length / (high - low)) * width);
      if (x > width || x + wide < 0) continue;
      const lane = lanes[rank], y = lane.top + depth * ROW, tint = this.tint(names[kind]);
      used.set(names[kind], tint);
      pen.fillStyle = tint;
      const left = Math.max(0, x), shown = Math.min(width, x + wide) - left;
      pen.fillRect(left, y, Math.max(1, shown - (shown > 3 ? 1 : 0)), ROW - 2);
      if (row[6]) (pen.fillStyle = css("--tl-bad")), pen.fillRect(left, y, 3, ROW - 2);
      if (shown > 46) {
        pen.fillStyle = /iteration|loop|application/.test(names[kind]) ? css("--tl-text") : css("--tl-on-data");
        pen.save();
        pen.beginPath();
        pen.rect(left, y, shown - 6, ROW);
        pen.clip();
        pen.fillText(`${words(names[kind])} ${duration(length)}`, left + 5, y + ROW / 2 - 1);
        pen.restore();
      }
      this.drawn.push([left, y, shown, row]);
    }
    if (many) for (const [rank, lane] of Object.entries(lanes)) (pen.fillStyle = css("--tl-muted")), pen.fillText(`rank ${rank}`, 4, lane.top - 6);
    put(this.where, `${duration(high - low)} shown, starting at +${duration(low)}`);
    put(this.legend, [...used].map(([name, tint]) => h("span", {}, h("i", { style: { background: tint } }), words(name))));
    this.canvas.dataset.low = low;
    this.canvas.dataset.high = high;
    this.canvas.dataset.spans = this.drawn.length;
  }

  axis(pen, width, height, low, high, at) {
    const raw = (high - low) / Math.max(2, width / 110), power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw);
    pen.strokeStyle = css("--tl-line");
    pen.fillStyle = css("--tl-muted");
    for (let moment = Math.ceil(low / step) * step; moment <= high; moment += step) {
      pen.beginPath();
      pen.moveTo(at(moment), 14);
      pen.lineTo(at(moment), height);
      pen.stroke();
      pen.fillText(Math.abs(moment) < step / 2 ? "0" : tick(moment, step), at(moment) + 3, 8);
    }
  }

  listen() {
    const share = (event) => (event.clientX - this.canvas.getBoundingClientRect().left) / this.canvas.clientWidth;
    this.canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && Math.abs(event.deltaX) < Math.abs(event.deltaY) && !event.shiftKey && document.activeElement !== this.canvas) return;
      event.preventDefault();
      this.zoom(event.deltaY > 0 ? 1.25 : 0.8, share(event));
    }, { passive: false });
    let held;
    this.canvas.addEventListener("pointerdown", (event) => ((held = [event.clientX, ...this.range]), this.canvas.setPointerCapture(event.pointerId)));
    this.canvas.addEventListener("pointerup", () => (held = undefined));
    this.canvas.addEventListener("pointermove", (event) => {
      if (held) {
        const by = ((held[0] - event.clientX) / this.canvas.clientWidth) * (held[2] - held[1]);
        if (Math.abs(held[0] - event.clientX) > 3) this.look(held[1] + by, held[2] + by);
      } else this.hover(event);
    });
    this.canvas.addEventListener("dblclick", (event) => {
      const row = this.under(event);
      if (row) this.look(row[3] - row[4] * 0.05, row[3] + row[4] * 1.05);
    });
    this.canvas.addEventListener("keydown", (event) => {
      const [low, high] = this.range, by = (high - low) * 0.2;
      const act = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), ArrowLeft: () => this.look(low - by, high - by), ArrowRight: () => this.look(low + by, high + by), 0: () => this.look(...this.spans.whole) }[event.key];
      if (act) event.preventDefault(), event.stopPropagation(), act();
    });
  }

  under(event) {
    const box = this.canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    return this.drawn?.findLast(([left, top, wide]) => x >= left && x <= left + Math.max(3, wide) && y >= top && y < top + ROW)?.[3];
  }

  hover(event) {
    const row = this.under(event);
    put(this.tip, row ? `${words(this.spans.names[row[2]])}: ${duration(row[4])}, starting at +${duration(row[3])}, rank ${row[0]}${row[5] > 1 ? `, longest of ${row[5]} spans at this position` : ""}${row[6] ? ` · ${row[6]}` : ""}` : "");
  }

  refresh() {
    const whole = this.range[0] === this.spans.whole[0] && this.range[1] === this.spans.whole[1];
    clearTimeout(this.wait);
    this.wait = setTimeout(() => this.fetch(whole ? undefined : this.range).then(() => this.draw()), 500);
  }

  stop() {
    clearTimeout(this.wait);
    this.sizes?.disconnect();
    this.forget?.();
  }
}

const words = (name) => name.replaceAll("_", " ");
const tick = (moment, step) => (step >= 1 ? duration(moment) : `${moment.toFixed(Math.min(6, Math.ceil(-Math.log10(step))))} s`);
