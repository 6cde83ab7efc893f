// The keyboard, and the tools at the right of the header: theme and help.
import { button, dialog, h, put } from "tracelet-web/dom.js";
import { apply, chosen, cycle } from "tracelet-web/theme.js";

const HELP = [
  ["/", "Search or filter"], ["j  k", "Next or previous run or chart"], ["Enter", "Open the focused run"],
  ["x", "Select the focused run"], ["c", "Compare the selected runs"], ["1 … 7", "Switch between the tabs of a run"],
  ["g", "Go to the list of runs"], ["t", "Theme: auto, light or dark"], ["?", "Show this help"],
];

const handlers = new Map();
export const onKey = (key, handler) => handlers.set(key, handler);

export function help() {
  const rows = HELP.map(([key, what]) => h("div", { class: "tl-key" }, h("kbd", {}, key), h("span", {}, what)));
  dialog("Keyboard shortcuts", rows, (close) => [button("Close", close, { class: "tl-button tl-primary" })]);
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const target = event.target;
  if (target.closest?.("input, textarea, select, [contenteditable]") && !["checkbox", "range"].includes(target.type)) {
    if (event.key === "Escape") target.blur();
    return;
  }
  const handler = handlers.get(event.key);
  if (handler) {
    event.preventDefault();
    handler(event);
  }
}

export function keyboard() {
  const theme = button("", () => (cycle(), label()), { class: "tl-button tl-quiet" });
  const label = () => {
    put(theme, { auto: "Auto", light: "Light", dark: "Dark" }[chosen()]);
    theme.setAttribute("aria-label", `Theme: ${chosen()}`);
  };
  const tools = document.getElementById("tl-tools");
  if (tools) put(tools, theme, button("?", help, { class: "tl-button tl-quiet", "aria-label": "Keyboard shortcuts" }));
  apply();
  label();
  onKey("?", help);
  onKey("t", () => (cycle(), label()));
  onKey("g", () => location.assign("/"));
  onKey("/", () => document.querySelector("[data-search]")?.focus());
  if (!globalThis.traceletKeys) document.addEventListener("keydown", (event) => globalThis.traceletKeys(event));
  globalThis.traceletKeys = pressed;
}
