// The goal of a metric: lower or higher is better, or nobody has said; a click changes it for the runs shown.
import { change } from "tracelet-web/api.js";
import { h, notify } from "tracelet-web/dom.js";

export const BETTER = { min: "lower is better", max: "higher is better", "": "goal unknown" };
const NEXT = { "": "min", min: "max", max: "unknown" };
const SHORT = { min: "↓ min", max: "↑ max", "": "? goal" };

// The best of these values by the goal; undefined if the goal is unknown, or if there is nothing to compare.
export function best(values, goal) {
  const known = values.filter((found) => typeof found === "number" && Number.isFinite(found));
  if (!goal || known.length < 2) return undefined;
  return goal === "min" ? Math.min(...known) : Math.max(...known);
}

export function goalButton(name, goal, runs, readOnly, done) {
  if (readOnly) return h("small", { title: BETTER[goal] }, SHORT[goal]);
  const flip = async () => {
    for (const run of runs) await change(run, { goals: { [name]: NEXT[goal] } }).catch((error) => notify(error.message));
    done();
  };
  const title = `${name}: ${BETTER[goal]}. Click to change.`;
  return h("button", { type: "button", class: "tl-goal", "data-goal": goal || "unknown", "aria-label": title, title, onclick: flip }, SHORT[goal]);
}
