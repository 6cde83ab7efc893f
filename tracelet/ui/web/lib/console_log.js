// What a run printed and what happened, as they come: only the end is fetched, earlier lines when they are asked for.
import { get, query } from "tracelet-web/api.js";
import { choice, h, put } from "tracelet-web/dom.js";
import { date, duration, value } from "tracelet-web/format.js";

const PAGE = 1000;

export class Log {
  constructor(run) {
    this.run = run;
    this.asked = { search: "", stream: "", rank: "" };
  }

  async start() {
    const typed = (event) => {
      clearTimeout(this.wait);
      this.wait = setTimeout(() => this.ask({ search: event.target.value.trim() }), 200);
    };
    this.lines = h("div", { class: "tl-console", tabindex: "0", role: "log", "aria-label": "Console output", "aria-live": "off" });
    this.note = h("span", { class: "tl-count", role: "status" });
    this.tools = h("div", { class: "tl-bar" }, h("input", { type: "search", "data-search": true, "aria-label": "Search the log", placeholder: "Search  ( / )", oninput: typed }),
      choice("Stream", [["", "Both"], ["stdout", "stdout"], ["stderr", "stderr"]], "", (stream) => this.ask({ stream })), this.run.ranks.length > 1 ? choice("Rank", [["", "All"], ...this.run.ranks.map((rank) => [String(rank), String(rank)])], "", (rank) => this.ask({ rank })) : null,
      this.note, h("span", { class: "tl-space" }), h("a", { class: "tl-button", href: this.path() + query({ format: "text" }), download: "" }, "Save"));
    this.events = h("div", {});
    await this.fetch();
    this.draw();
    return [this.tools, this.lines, h("h2", { class: "tl-heading" }, "Events"), this.events];
  }

  path() {
    return `/api/runs/${encodeURIComponent(this.run.id)}/console`;
  }

  ask(changes) {
    Object.assign(this.asked, changes);
    return this.fetch();
  }

  async fetch() {
    this.found = await get(this.path().slice(5), { ...this.asked, limit: PAGE });
    const below = this.below();
    const { lines, start, matching, total } = this.found;
    const several = this.found.ranks.length > 1;
    const words = this.asked.search || this.asked.stream || this.asked.rank ? `${matching.toLocaleString("en-US")} of ${total.toLocaleString("en-US")} lines` : `${total.toLocaleString("en-US")} lines`;
    put(this.note, total ? words : "");
    const nothing = total ? "No lines match." : "No console output: the program printed nothing, or track_console was off.";
    put(this.lines, start > 0 && this.earlier(start), lines.length ? lines.map((line) => this.line(line, several)) : h("p", { class: "tl-hint" }, nothing));
    if (below) requestAnimationFrame(() => (this.lines.scrollTop = this.lines.scrollHeight));
    this.lines.dataset.total = total;
  }

  below() {
    return this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
  }

  earlier(start) {
    const more = async (event) => {
      const found = await get(this.path().slice(5), { ...this.asked, before: start, limit: PAGE });
      const height = this.lines.scrollHeight;
      event.target.replaceWith(...[found.start > 0 && this.earlier(found.start), ...found.lines.map((line) => this.line(line, found.ranks.length > 1))].flat().filter(Boolean));
      this.lines.scrollTop += this.lines.scrollHeight - height;
    };
    return h("button", { type: "button", class: "tl-button tl-earlier", onclick: more }, `Show earlier lines (${start.toLocaleString("en-US")})`);
  }

  line(line, several) {
    const missing = line.missing && !this.asked.search && h("div", { class: "tl-line tl-left-out" }, h("span", {}), h("span", {}, `${line.missing.toLocaleString("en-US")} lines were not recorded because there were too many`));
    return [missing, h("div", { class: `tl-line tl-${line.stream}` }, h("time", { title: date(line.time) }, "+" + duration(Math.max(0, line.time - this.run.started))), several && h("b", { title: `rank ${line.rank}` }, line.rank), h("span", {}, line.text || " "))].filter(Boolean);
  }

  draw() {
    const run = this.run;
    const rows = [{ time: run.started, name: "run started", attributes: { command: run.command.join(" ") } }, ...run.events, ...(run.ended ? [{ time: run.ended, name: `run ${run.status}`, attributes: run.reason ? { reason: run.reason } : {} }] : [])];
    put(this.events, h("div", { class: "tl-events" }, rows.map((row) => h("div", { class: "tl-event" }, h("time", { title: date(row.time) }, "+" + duration(Math.max(0, row.time - run.started))), h("b", {}, row.name.replaceAll("_", " ")),
      h("span", {}, words(row))))));
  }

  // The run as it is now, after a push.
  refresh(run) {
    this.run = run;
    this.draw();
    if (this.below()) this.fetch();  // whoever reads further up is not disturbed
  }
}

// What an event says, without what it does not know.
function words({ name, attributes }) {
  const known = Object.entries(attributes).filter(([, found]) => found !== null && found !== undefined && found !== "");
  if (name !== "fit_finished") return known.map(([key, found]) => `${key.replaceAll("_", " ")} ${value(found)}`).join(", ");
  const { kind, number, status, seconds, epochs, steps, reason, ended_by, stopped_by } = attributes;
  const end = reason || (stopped_by ? `stopped by ${stopped_by}` : ended_by?.startsWith("max_") && `${ended_by} reached`);
  return [`${kind} ${number} ${status} after ${duration(seconds ?? 0)}`, epochs && `${epochs} epochs`, steps && `${steps} steps`, end].filter(Boolean).join(", ");
}
