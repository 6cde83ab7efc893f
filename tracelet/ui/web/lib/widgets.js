// Small pieces that several pages show.
import { change } from "tracelet-web/api.js";
import { button, dialog, h, notify } from "tracelet-web/dom.js";

const STALE_AFTER = 60; // seconds without a heartbeat after which a running run is shown as not responding

export function badge(run) {
  const stale = run.status === "running" && Date.now() / 1000 - run.heartbeat > STALE_AFTER;
  const title = run.reason || (stale ? "No heartbeat for more than a minute" : run.status);
  return h("span", { class: `tl-status tl-${run.status}${stale ? " tl-stale" : ""}`, title }, h("i", { "aria-hidden": "true" }), stale ? "not responding" : run.status);
}

export function tagged(tags) {
  return h("span", { class: "tl-tags" }, Object.entries(tags).map(([name, text]) => h("span", { class: "tl-tag" }, text && text !== "true" ? `${name}: ${text}` : name)));
}

export function rename(run, done) {
  const input = h("input", { type: "text", class: "tl-wide", value: run.name, "aria-label": "New name" });
  const save = (close) => change(run.id, { name: input.value }).then(() => (close(), done()), (error) => notify(error.message));
  const hint = run.original_name && run.original_name !== run.name ? h("p", { class: "tl-hint" }, `Leave empty to restore the original name, ${run.original_name}`) : null;
  const box = dialog("Rename", [input, hint], (close) => [button("Cancel", close), button("Save", () => save(close), { class: "tl-button tl-primary" })]);
  box.addEventListener("keydown", (event) => event.key === "Enter" && event.target === input && save(() => box.close()));
  input.select();
}

// Tags of one run or several: the tags that all of them have, each with a button to remove it, and a new one.
export function retag(runs, done) {
  const changes = {}, first = runs[0].tags;
  const common = Object.entries(first).filter(([name, text]) => runs.every((run) => run.tags[name] === text));
  const name = h("input", { type: "text", "aria-label": "Tag name", placeholder: "name" }), text = h("input", { type: "text", "aria-label": "Tag value", placeholder: "value (optional)" });
  const save = async (close) => {
    if (name.value.trim()) changes[name.value.trim()] = text.value.trim() || "true";
    if (!Object.keys(changes).length) return close();
    for (const run of runs) await change(run.id, { tags: changes }).then(close, (error) => notify(error.message));
    done();
  };
  const entry = ([key, found]) => {
    const row = h("span", { class: "tl-tag" }, found === "true" ? key : `${key}: ${found}`, h("button", { type: "button", class: "tl-untag", "aria-label": `Remove ${key}`, onclick: () => ((changes[key] = ""), row.remove()) }, "×"));
    return row;
  };
  const box = dialog(runs.length === 1 ? `Tags of ${runs[0].name}` : `Tags of ${runs.length} runs`, [common.length > 0 && h("div", { class: "tl-tags" }, common.map(entry)), h("div", { class: "tl-pair" }, name, text)],
    (close) => [button("Cancel", close), button("Save", () => save(close), { class: "tl-button tl-primary" })]);
  box.addEventListener("keydown", (event) => event.key === "Enter" && event.target.matches("input") && save(() => box.close()));
  name.focus();
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
  return h("pre", { class: "tl-diff", tabindex: "0", role: "region", "aria-label": "Code changes" }, text.replace(/\n$/, "").split("\n").slice(0, 4000).map((line) => h("span", { class: kind(line) }, line + "\n")));
}
