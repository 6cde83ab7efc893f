// One run: overview, metrics, system, time, log, artifacts, deliveries; a tab is made when it is opened.
import { change, get, query, remove, view } from "tracelet-web/api.js";
import { Charts } from "tracelet-web/charts.js";
import { button, code, dialog, empty, h, outside, put, notify } from "tracelet-web/dom.js";
import { ago, date, duration, number, size, value } from "tracelet-web/format.js";
import { onKey } from "tracelet-web/keyboard.js";
import { overview } from "tracelet-web/run_overview.js";
import { badge, facts, rename, retag, table, tagged } from "tracelet-web/widgets.js";

const TABS = [["overview", "Overview"], ["metrics", "Metrics"], ["system", "System"], ["time", "Time"], ["log", "Log"], ["artifacts", "Artifacts"], ["deliveries", "Deliveries"]];
const SYSTEM = /^(system|gpu)/;
const STATES = { waiting: "Nothing to deliver yet", opening: "Creating the remote run", ok: "Delivering", offline: "The backend does not respond. Data is kept and sent later.", misconfigured: "Delivery is stopped until the settings are fixed. Data is kept.", done: "Everything is delivered" };

class Run {
  constructor(box, page) {
    this.box = box;
    this.page = page;
    this.id = page.run;
  }

  async start() {
    try {
      this.run = await get(`runs/${encodeURIComponent(this.id)}`);
    } catch (error) {
      put(this.box, h("h1", { class: "tl-hidden" }, "Run"), empty("Run not found", error.message, h("p", {}, h("a", { href: "/" }, "All runs"))));
      return;
    }
    this.head = h("div", { class: "tl-title tl-run-title" });
    this.tabs = h("div", { class: "tl-tabs", role: "tablist", "aria-label": "Sections of this run" }, TABS.map(([name, title], place) => h("button", {
      type: "button", role: "tab", id: "tab-" + name, "aria-controls": "panel", onclick: () => this.show(name), onkeydown: (event) => this.arrow(event, place) }, title)));
    this.panel = h("div", { id: "panel", role: "tabpanel", tabindex: "0", class: "tl-panel" });
    put(this.box, this.head, this.tabs, this.panel);
    this.title();
    TABS.forEach(([name], place) => onKey(String(place + 1), () => this.show(name)));
    onKey("j", () => this.charts?.step(1));
    onKey("k", () => this.charts?.step(-1));
    await this.show(TABS.some(([name]) => name === view.get("tab")) ? view.get("tab") : "overview");
    this.page.watch([this.id]);
    this.box.dataset.ready = "yes";
  }

  title() {
    const run = this.run;
    document.title = `${run.name} · tracelet`;
    const save = h("a", { class: "tl-button", href: "/api/report" + query({ run: this.id }), download: "report.html" }, "Save as HTML");
    const edits = run.read_only ? [save] : [save,
      button(run.pinned ? "★ Pinned" : "☆ Pin", () => this.edit({ pinned: !run.pinned }), { "aria-pressed": String(run.pinned) }),
      button("Rename", () => rename(run, () => this.reload())), button("Tags", () => retag([run], () => this.reload())), button("Delete", () => this.remove(), { class: "tl-button tl-danger" })];
    put(this.head, h("div", {}, h("div", { class: "tl-crumb" }, h("a", { href: "/" }, "Runs"), " / ", run.project), h("h1", {}, run.name),
      h("div", { class: "tl-under" }, badge(run), h("span", {}, `started ${ago(run.started)}`), h("span", {}, duration((run.ended ?? Date.now() / 1000) - run.started)),
        h("span", {}, `${number(run.points)} points`), run.world_size > 1 && h("span", {}, `${run.world_size} ranks`), tagged(run.tags))), h("div", { class: "tl-actions" }, edits));
  }

  async edit(body) {
    await change(this.id, body).catch((error) => notify(error.message));
    await this.reload();
  }

  async reload() {
    this.run = await get(`runs/${encodeURIComponent(this.id)}`);
    this.title();
  }

  remove() {
    const go = () => remove(this.id).then(() => location.assign("/"), (error) => notify(error.message));
    dialog("Delete this run?", h("p", {}, `This deletes ${this.run.name} (${this.id}) and all its files. It cannot be undone.`), (close) => [
      button("Cancel", close, { autofocus: true }), button("Delete", () => (close(), go()), { class: "tl-button tl-danger" })]);
  }

  arrow(event, place) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const next = this.tabs.children[(place + by + TABS.length) % TABS.length];
    next.focus();
    next.click();
  }

  async show(name) {
    this.charts?.stop();
    this.timeline?.stop();
    this.charts = this.timeline = this.logView = undefined;
    this.tab = name;
    view.set({ tab: name === "overview" ? "" : name });
    for (const tab of this.tabs.children) {
      const own = tab.id === "tab-" + name;
      tab.setAttribute("aria-selected", String(own));
      tab.tabIndex = own ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", "tab-" + name);
    put(this.panel, await this[name]());
    this.panel.dataset.tab = name;
  }

  overview() {
    return overview(this.run, () => this.reload().then(() => this.show(this.tab)));
  }

  specs(names, group) {
    const place = (one) => (one.ranks > 1 && one.rank ? one.rank : 0);
    const label = (one) => (one.ranks > 1 && one.rank !== null ? `${one.name} rank ${one.rank}` : one.name);
    return names.map((name) => ({ title: name, runs: [this.id], names: [name], label, place, group }));
  }

  metrics() {
    const names = Object.keys(this.run.metrics).filter((name) => !SYSTEM.test(name));
    this.charts = new Charts(this.specs(names));
    return names.length ? this.charts.box : empty("No metrics yet", "Metrics appear here as soon as the program logs one:", code('tracelet.log({"loss": loss}, step=step)'));
  }

  system() {
    const all = Object.keys(this.run.metrics), names = all.filter((name) => SYSTEM.test(name));
    const training = all.filter((name) => !SYSTEM.test(name)).sort((a, b) => /loss/.test(b) - /loss/.test(a)).slice(0, 2);
    if (!names.length) return empty("No system metrics", "The agent records them during the training, unless track_system or delivery is off. To check the setup:", code("tracelet doctor"));
    this.charts = new Charts(this.specs([...training, ...names]), { x: "relative", group: "system", extent: () => [0, (this.run.ended ?? Date.now() / 1000) - this.run.started] });
    return [h("p", { class: "tl-hint" }, "The first charts show the training's own metrics on the same time axis. Drag to zoom all charts; double-click to reset."), this.charts.box];
  }

  async time() {
    const { Timeline } = await import("tracelet-web/timeline.js");
    this.timeline = new Timeline(this.id);
    return this.timeline.start();
  }

  async log() {
    const { Log } = await import("tracelet-web/console_log.js");
    this.logView = new Log(this.run);
    const parts = await this.logView.start();
    return [this.run.traceback && h("pre", { class: "tl-log", tabindex: "0" }, this.run.traceback), ...parts];
  }

  artifacts() {
    const run = this.run;
    if (!run.artifacts.length) return empty("No artifacts", "To store a file with the run:", code('experiment.log_artifact("model.pt")'));
    const best = run.artifacts.filter((artifact) => artifact.metadata?.best && !artifact.removed).at(-1);
    const name = (artifact) => [artifact.metadata?.folder ? `${artifact.name} (${artifact.metadata.files ?? ""} files)` : artifact.kept ? h("a", { href: `/api/runs/${encodeURIComponent(this.id)}/artifacts/${artifact.number}`, download: "" }, artifact.name) : artifact.name, artifact === best && h("span", { class: "tl-tag tl-good" }, "best")].filter(Boolean);
    const about = (artifact) => Object.entries(artifact.metadata).filter(([key, found]) => found !== null && found !== false && key !== "best").map(([key, found]) => `${key.replaceAll("_", " ")} ${value(found)}`).join(", ");
    const where = (artifact) => (artifact.removed ? h("span", { class: "tl-muted" }, "replaced by a later checkpoint") : artifact.kept ? "in the store" : h("code", {}, artifact.path));
    return h("section", { class: "tl-card" }, table(["Name", "Kind", "Size", "Logged", "Metadata", "Location"], run.artifacts.map((artifact) => [name(artifact), artifact.kind, size(artifact.size), "+" + duration(artifact.time - run.started), about(artifact), where(artifact)]), { label: "Artifacts" }));
  }

  deliveries() {
    const run = this.run;
    if (!run.deliveries.length) return empty("No backends", "The run is in the local store only. To deliver it to a backend:", code(`tracelet sync ${this.id} --backend mlflow`));
    return h("div", { class: "tl-cards" }, run.deliveries.map((found) => this.delivery(found)));
  }

  delivery(found) {
    // What ranks have in common is delivered once: until all is over more points are recorded than are to be delivered.
    const run = this.run, total = found.state === "done" ? found.points : run.points, pending = Math.max(0, total - found.points);
    const sync = found.state !== "done" && run.status !== "running" && `tracelet sync ${run.id} --backend ${found.backend}`;
    return h("section", { class: "tl-card" }, h("h2", {}, found.backend), h("p", { class: "tl-hint" }, h("span", { class: `tl-status tl-delivery-${found.state}` }, h("i", {}), found.state), STATES[found.state] ?? ""),
      h("progress", { max: Math.max(1, total), value: Math.min(found.points, total), "aria-label": `Delivered to ${found.backend}` }),
      facts([["Delivered", `${number(found.points)} of ${number(total)} points`], ["Pending", pending ? number(pending) : null], ["Rejected", found.rejected ? `${number(found.rejected)} records` : null], ["Remote run", found.url && outside(found.url)],
        ["Error", found.error], ["Offline since", found.since ? `${date(found.since)} (${ago(found.since)})` : null], ["Last update", found.updated ? ago(found.updated) : null]]),
      found.fix && [h("h3", {}, "To fix it"), code(found.fix)], sync && [h("h3", {}, found.state === "offline" ? "When the backend responds again" : "To deliver the rest"), code(sync)]);
  }

  async changed() {
    const before = Object.keys(this.run.metrics).join();
    this.charts?.refresh();
    this.timeline?.refresh?.();
    clearTimeout(this.later);
    const again = async () => {
      this.last = Date.now();
      await this.reload();
      this.logView?.refresh(this.run);
      if (!["time", "log"].includes(this.tab) && (!this.charts || before !== Object.keys(this.run.metrics).join())) await this.show(this.tab);
    };
    this.later = setTimeout(again, Date.now() - (this.last ?? 0) > 1000 ? 0 : 1000);
  }

  stop() {
    this.charts?.stop();
    this.timeline?.stop();
    clearTimeout(this.later);
  }
}

export async function start(box, page) {
  const run = new Run(box, page);
  await run.start();
  return run;
}
