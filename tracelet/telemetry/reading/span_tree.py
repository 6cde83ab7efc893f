"""The spans and span events of a run, process by process, as the exports walk them. Reading side; any process.

A process here is one rank in one attempt. Ids are unique within it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tracelet.journal.records import Event, Span
from tracelet.store.run import Run
from tracelet.store.span_table import tabulate
from tracelet.telemetry.reading.span_node import SpanNode
from tracelet.telemetry.reading.span_selection import Selection


@dataclass
class ProcessSpans:
    """All spans of one rank in one attempt."""

    rank: int
    attempt: int
    pid: int
    host: str
    nodes: dict[int, SpanNode]
    roots: list[SpanNode]

    def __iter__(self) -> Iterator[SpanNode]:
        return iter(self.nodes.values())


def processes(run: Run, selection: Selection | None = None) -> list[ProcessSpans]:
    """Every process of the run that recorded spans, without those that the selection leaves out."""
    chosen = selection or Selection()
    found = []
    for view in run.views:
        if view.started is None or view.started.role != "rank":
            continue
        table = tabulate([(0, view.started.rank, view.records(Span), view.spans())])
        started = view.started
        nodes, roots = _build_tree(list(table), view.records(Event), chosen)
        if nodes:
            found.append(ProcessSpans(started.rank, started.attempt, started.pid, started.host, nodes, roots))
    return found


def _build_tree(
    spans: list[Span], events: list[Event], chosen: Selection
) -> tuple[dict[int, SpanNode], list[SpanNode]]:
    known = {span.id: (span.name, span.parent) for span in spans}
    nodes = {span.id: SpanNode(span) for span in spans if chosen.includes(span.name)}
    roots = []
    for node in nodes.values():
        above = chosen.parent(node.span.parent, known)
        if above in nodes and above != node.span.id:
            node.parent_id = above
            nodes[above].children.append(node)
        else:
            roots.append(node)
    for event in sorted(events, key=_time):
        if event.span in nodes:
            nodes[event.span].events.append(event)
    return nodes, roots


def _time(event: Event) -> int:
    return event.time


def plain_attributes(node: SpanNode) -> dict[str, Any]:
    """The span's attributes, with its error if it has one."""
    found = dict(node.span.attributes)
    if node.span.error:
        found["error"] = node.span.error
    if node.span.duration_ns < 0:
        found["open"] = True
    return found
