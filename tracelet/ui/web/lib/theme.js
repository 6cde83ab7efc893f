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

// Twenty: Okabe and Ito's, without the yellow that paper and light screens lose, and as distinct ones as there are beside them.
const LIGHT = ["#0072b2", "#d55e00", "#009e73", "#b3568f", "#3a9bd6", "#b87900", "#555b6e", "#7a4fa3", "#00808a", "#8c5a3c",
  "#c4122f", "#6b7a00", "#1f2f8f", "#d6219c", "#1f5f2c", "#5a5fe0", "#7d1d3f", "#4f9a1d", "#e0554a", "#1a1a1a"];
const DARK = ["#4ba3dd", "#f0803c", "#2fc79b", "#dd8fbf", "#8fd0f5", "#efb63e", "#aab2c5", "#b594dd", "#5fcfd3", "#cda283",
  "#ff6b81", "#c3d04a", "#7f95ff", "#ff7ad9", "#7fd88a", "#b3b6ff", "#e29ab8", "#a8e063", "#ffae9f", "#f2f2f2"];
export const colour = (place) => (dark() ? DARK : LIGHT)[place % LIGHT.length];
export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
