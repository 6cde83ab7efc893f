// The colour of a run: fixed by its id, so that it is the same on every page; runs that share one differ by their line.
import { h } from "tracelet-web/dom.js";
import { colour } from "tracelet-web/theme.js";

export const COLOURS = 20;
const LINES = ["solid", [7, 3], [2, 2], [9, 3, 2, 3]];

// FNV-1a: spreads ids that differ in one letter.
export function place(id) {
  let hash = 0x811c9dc5;
  for (const letter of id) hash = Math.imul(hash ^ letter.codePointAt(0), 0x01000193) >>> 0;
  return hash % COLOURS;
}

export class RunColours {
  // ids: the runs that are shown together
  constructor(ids) {
    const taken = new Map();
    this.lines = new Map([...ids].sort().map((id) => {
      const count = taken.get(place(id)) ?? 0;
      taken.set(place(id), count + 1);
      return [id, LINES[count % LINES.length]];
    }));
  }

  place(id) {
    return place(id);
  }

  line(id) {
    return this.lines.get(id) ?? "solid";
  }

  swatch(id) {
    const line = this.line(id), tint = colour(place(id));
    if (line === "solid") return h("i", { class: "tl-swatch", style: { background: tint }, "aria-hidden": "true" });
    const [mark, gap] = line;
    return h("i", { class: "tl-swatch tl-dashed", style: { background: `repeating-linear-gradient(90deg, ${tint} 0 ${mark}px, transparent ${mark}px ${mark + gap}px)` }, "aria-hidden": "true" });
  }
}
