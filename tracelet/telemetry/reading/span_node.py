"""Spans as a tree, with their events, for what writes them in the order of that tree. Plain data; any process."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracelet.journal.records import Event, Span


@dataclass
class SpanNode:
    """One span with its events and children, both in the order of their times."""

    span: Span
    events: list[Event] = field(default_factory=list)
    children: list[SpanNode] = field(default_factory=list)
    parent_id: int = 0
    """The id of the nearest ancestor that was not left out; 0 where there is none."""
    begun_before: bool = False
    """Its begin has been told already."""

    @property
    def end_ns(self) -> int:
        """When it ended; its start while it is open."""
        return self.span.start_ns + max(0, self.span.duration_ns)

    def inside(self) -> list[SpanNode | Event]:
        """Children and events by time."""
        return by_time([*self.children, *self.events])


def by_time(items: list[SpanNode | Event]) -> list[SpanNode | Event]:
    """Spans by their starts, or by their ends where the start is told already; events come first."""
    return sorted(items, key=_when)


def _when(item: SpanNode | Event) -> tuple[int, int]:
    if isinstance(item, Event):
        return item.time * 1000, 0
    return (item.end_ns, 0) if item.begun_before else (item.span.start_ns, 1)
