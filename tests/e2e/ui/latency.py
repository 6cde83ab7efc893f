"""How long after the log call a point stands on a chart, measured in the page that shows it.

Used by the live test and by benchmarks/live.py. The clock of the browser is that of the training: both are processes of
this machine. Every point counts from its own time to the moment at which the chart has drawn it.
"""

from __future__ import annotations

CHART = "document.querySelector('.tl-chart[aria-label=\"loss\"]')"
WATCH = f"""
const box = {CHART};
let last = box.chart.data[0].x.at(-1);
window.delays = [];
new MutationObserver(() => {{
  const now = Date.now() / 1000, moments = box.chart.data[0].x;
  for (const moment of moments) if (moment > last) window.delays.push(now - moment);
  last = moments.at(-1);
}}).observe(box, {{ attributes: true, attributeFilter: ["data-points"] }});
"""
"""Begins to measure; needs a page whose charts have the time on their axis."""
