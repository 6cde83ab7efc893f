// Elements out of data. Text is always text: nothing here parses markup.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function put(parent, ...children) {
  parent.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return parent;
}

// Only addresses that lead to a web page: a `javascript:` from a journal stays text.
export function outside(address) {
  if (!/^https?:\/\//i.test(address ?? "")) return h("span", {}, address || "");
  return h("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, address);
}

export function button(title, onclick, attributes = {}) {
  return h("button", { type: "button", class: "tl-button", onclick, ...attributes }, title);
}

export function choice(label, options, value, onchange) {
  const select = h("select", { "aria-label": label, onchange: (event) => onchange(event.target.value) });
  for (const [key, title] of options) select.append(h("option", { value: key, selected: key === value }, title));
  return h("label", { class: "tl-field" }, h("span", {}, label), select);
}

export function dialog(title, body, actions) {
  const box = h("dialog", { class: "tl-dialog", "aria-label": title });
  const close = () => box.close();
  put(box, h("h2", {}, title), h("div", { class: "tl-dialog-body" }, body), h("div", { class: "tl-actions" }, actions(close)));
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}

export function notify(message) {
  const note = h("div", { class: "tl-note", role: "status" }, message);
  document.body.append(note);
  setTimeout(() => note.remove(), 6000);
}

export function empty(title, ...lines) {
  return h("div", { class: "tl-empty" }, h("h2", {}, title), ...lines.map((line) => (typeof line === "string" ? h("p", {}, line) : line)));
}

// A command to type, with a button that copies it.
export function code(text) {
  const copy = h("button", { type: "button", class: "tl-copy", "aria-label": "Copy", onclick: async () => {
    await navigator.clipboard.writeText(text).then(() => put(copy, "Copied"), () => put(copy, "Copy failed"));
    setTimeout(() => put(copy, "Copy"), 2000);
  } }, "Copy");
  return h("div", { class: "tl-code" }, h("pre", { class: "tl-command", tabindex: "0" }, text), copy);
}
