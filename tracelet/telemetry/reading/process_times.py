"""The breakdown of one process's time: the result of `time_analysis`, for commands and dashboard. Plain data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

BEFORE_TRAINING = "before training"
"""Imports and preparation: time before the first training loop that no span explains."""
CATEGORIES = (
    BEFORE_TRAINING, "initialization", "loading", "transfer", "forward", "backward", "optimizer", "collective_wait",
    "callbacks", "logging", "validation", "testing", "prediction", "checkpoints", "tuning", "other",
)  # fmt: skip
"""In the order in which tables show them; the seconds of all together are those of the application."""
PRODUCTIVE = ("forward", "backward", "optimizer")
"""The numerator of goodput."""


def sorted_by_category(parts: Iterable[str]) -> list[str]:
    """These parts as tables show them: categories, then the program's own spans as they come, then `other`."""
    found = dict.fromkeys(parts)
    own = [name for name in found if name not in CATEGORIES]
    return [*(name for name in CATEGORIES[:-1] if name in found), *own, *(name for name in found if name == "other")]


@dataclass(frozen=True)
class SlowIteration:
    """One of the slowest training iterations."""

    number: int
    seconds: float
    start_ns: int
    phase: str
    """The category that took most of it."""
    phase_seconds: float


@dataclass(frozen=True)
class Straggle:
    """One rank that holds up the others: in which phase, how much, and since when. Times in seconds."""

    phase: str
    seconds: float
    """How much longer than the other ranks, in all iterations together."""
    iterations: int
    """In how many iterations."""
    first: int
    """The first of these."""
    since: float
    """When that began, in seconds since the epoch."""
    lasting: bool
    """Whether it holds up all iterations from the first of these on, and not just a few."""
    waited: float
    """How long the other ranks waited for somebody in those iterations, on average."""


@dataclass
class ProcessTimes:
    """Where the time of one rank in one attempt went. All in seconds."""

    rank: int
    process: int
    total: float
    training: float
    """Of its training loops, trials left out, all that happened in them."""
    parts: dict[str, float]
    """By category, see `CATEGORIES`; before `other` by span of the program's own, the largest few of what these explain
    of the time that has no category.
    """
    within: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of some parts, seconds by what they consist of: callbacks by hook, initialization by span, how much of a
    validation waits for data, and where the time of `other` lies that is inside no span.
    """
    iterations: int = 0
    median: float = 0.0
    slow_limit: float = 0.0
    slow_count: int = 0
    slow_seconds: float = 0.0
    """What the slow ones (five times the median and more) took beyond the median."""
    first_third: dict[str, float] = field(default_factory=dict)
    last_third: dict[str, float] = field(default_factory=dict)
    """Mean seconds of an iteration, by category and `iteration`."""
    slowest: list[SlowIteration] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    """Spans that never ended, outermost first: what a killed process was doing, or a running one is doing."""
    open_since: list[float] = field(default_factory=list)
    """When each of them began, in seconds since the epoch."""
    status: str = ""
    """Of the process; empty if unknown."""
    ended: float = 0.0
    """When the process ended, or now if it is running, in seconds since the epoch; 0 if unknown."""
    usual_growth: float = 0.0
    """By how much the median iteration of the last third takes longer than that of the first."""
    straggles: list[Straggle] = field(default_factory=list)
    """Where this rank holds up the others, the costliest first."""

    def share(self, category: str) -> float:
        """The category's share of the whole."""
        return self.parts.get(category, 0.0) / self.total if self.total else 0.0

    def share_of_training(self, category: str) -> float:
        """The category's share of the time of the training loops."""
        return self.parts.get(category, 0.0) / self.training if self.training else 0.0

    @property
    def goodput(self) -> float:
        """Forward, backward and optimizer of the training, as a share of the application's time."""
        return sum(self.parts.get(name, 0.0) for name in PRODUCTIVE) / self.total if self.total else 0.0

    def most_of(self, part: str) -> tuple[str, float]:
        """What takes most of a part, and how long; an empty name where that is not known."""
        found = self.within.get(part, {})
        name = max(found, key=lambda name: found[name], default="")
        return name, found.get(name, 0.0)
