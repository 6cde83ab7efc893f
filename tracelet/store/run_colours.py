"""The color of a run, fixed by its id, as the dashboard's `run_colours.js` and `theme.js` have it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

LIGHT = (
    "#0072b2", "#d55e00", "#009e73", "#b3568f", "#3a9bd6", "#b87900", "#555b6e", "#7a4fa3", "#00808a", "#8c5a3c",
    "#c4122f", "#6b7a00", "#1f2f8f", "#d6219c", "#1f5f2c", "#5a5fe0", "#7d1d3f", "#4f9a1d", "#e0554a", "#1a1a1a",
)  # fmt: skip
DARK = (
    "#4ba3dd", "#f0803c", "#2fc79b", "#dd8fbf", "#8fd0f5", "#efb63e", "#aab2c5", "#b594dd", "#5fcfd3", "#cda283",
    "#ff6b81", "#c3d04a", "#7f95ff", "#ff7ad9", "#7fd88a", "#b3b6ff", "#e29ab8", "#a8e063", "#ffae9f", "#f2f2f2",
)  # fmt: skip
DASHES = ("", "7 3", "2 2", "9 3 2 3")
"""The lines of runs that share a color and are shown together."""


def place(run_id: str) -> int:
    """The index of the run's color: FNV-1a, which spreads ids that differ in one letter."""
    found = 0x811C9DC5
    for letter in run_id:
        found = ((found ^ ord(letter)) * 0x01000193) & 0xFFFFFFFF
    return found % len(LIGHT)


def dashes(run_ids: Iterable[str]) -> dict[str, str]:
    """The line of each of these runs, as `stroke-dasharray`."""
    taken: dict[int, int] = {}
    found = {}
    for run_id in sorted(run_ids):
        count = taken.get(place(run_id), 0)
        taken[place(run_id)] = count + 1
        found[run_id] = DASHES[count % len(DASHES)]
    return found
