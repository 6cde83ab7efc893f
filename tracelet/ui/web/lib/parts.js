// Small pieces that several pages show.
import { change } from "tracelet-web/api.js";
import { button, dialog, h, told } from "tracelet-web/dom.js";

const QUIET = 60; // seconds without a sign of life after which a running run is shown as silent

export function badge(run) {
  const silent = run.status === "running" && Date.now() / 1000 - run.heartbeat > QUIET;
  const title = run.reason || (silent ? "no sign of life for a minute" : run.status);
  return h("span", { class: `tl-status tl-${run.status}${silent ? " tl-silent" : ""}`, title }, h("i", { "aria-hidden": "true" }), silent ? "silent" : run.status);
}

export function tagged(tags) {
  return h("span", { class: "tl-tags" }, Object.entries(tags).map(([name, text]) => h("span", { class: "tl-tag" }, text && text !== "true" ? `${name}: ${text}` : name)));
}

export function rename(run, done) {
  const input = h("input", { type: "text", class: "tl-wide", value: run.name, "aria-label": "New name" });
  const save = (close) => change(run.id, { name: input.value }).then(() => (close(), done()), (error) => told(error.message));
  dialog("Rename", input, (close) => [button("Cancel", close), button("Save", () => save(close), { class: "tl-button tl-primary" })]);
  input.select();
}

export function table(head, rows, attributes = {}) {
  return h("div", { class: "tl-scroll", tabindex: "0", role: "region", "aria-label": attributes.label ?? "Table" }, h("table", { class: "tl-table" },
    h("thead", {}, h("tr", {}, head.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) => (place ? h("td", {}, cell) : h("th", { scope: "row" }, cell))))))));
}

export function facts(pairs) {
  return h("dl", { class: "tl-facts" }, pairs.filter(([, found]) => found !== undefined && found !== null && found !== "").map(([name, found]) => h("div", {}, h("dt", {}, name), h("dd", {}, found))));
}

export function patch(text) {
  const kind = (line) => (line.startsWith("+++") || line.startsWith("---") || line.startsWith("diff ") ? "tl-file" : line.startsWith("@@") ? "tl-hunk" : line[0] === "+" ? "tl-plus" : line[0] === "-" ? "tl-minus" : "");
  return h("pre", { class: "tl-diff", tabindex: "0", role: "region", "aria-label": "Code changes" }, text.split("\n").slice(0, 4000).map((line) => h("span", { class: kind(line) }, line + "\n")));
}
