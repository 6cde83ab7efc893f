// Light and dark by the system's setting, or as chosen; and the colours of data, which people with any eyes can tell apart.
const KEY = "tracelet-theme";
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

export const chosen = () => localStorage.getItem(KEY) ?? "auto";
export const dark = () => (chosen() === "auto" ? system.matches : chosen() === "dark");
export const onTheme = (listener) => (listeners.add(listener), () => listeners.delete(listener));

export function apply() {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  globalThis.Quasar?.Dark?.set(dark());
  for (const listener of listeners) listener();
}

export function cycle() {
  const order = ["auto", "light", "dark"];
  localStorage.setItem(KEY, order[(order.indexOf(chosen()) + 1) % 3]);
  apply();
}

system.addEventListener("change", apply);

// Okabe and Ito's, without the yellow that paper and light screens lose.
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b3568f", "#3a9bd6", "#b87900", "#555b6e", "#7a4fa3", "#00808a", "#8c5a3c"];
const DARK = ["#4ba3dd", "#f0803c", "#2fc79b", "#dd8fbf", "#8fd0f5", "#efb63e", "#aab2c5", "#b594dd", "#5fcfd3", "#cda283"];
export const colour = (place) => (dark() ? DARK : LIGHT)[place % LIGHT.length];
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
