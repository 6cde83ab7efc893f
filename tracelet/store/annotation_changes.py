"""Changes of a run's annotations, checked: another name, tags, a pin, the archive, goals of metrics.

Used by the dashboard and the command line, on any thread but one at a time. Never touches a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from tracelet.capture.sanitize import storable_text
from tracelet.errors import StoreError
from tracelet.journal.metric_definition import GOALS
from tracelet.store.annotations import Annotations, read_annotations, write_annotations
from tracelet.store.metric_definitions import UNKNOWN

LONGEST_NAME = 500
MOST_TAGS = 100
MOST_GOALS = 500
"""Goals kept per run: the file of annotations stays small."""

Change = Callable[[Annotations], Annotations]


def renamed(name: str) -> Change:
    """Another name; an empty one restores the original name."""
    name = storable_text(name).strip()
    if len(name) > LONGEST_NAME:
        raise StoreError(f"a name may have at most {LONGEST_NAME} characters; nothing was changed")
    return lambda known: msgspec.structs.replace(known, name=name)


def tagged(tags: Mapping[str, str]) -> Change:
    """More tags; an empty value removes a tag."""
    given = {storable_text(key): storable_text(value) for key, value in tags.items()}
    if len(given) > MOST_TAGS:
        raise StoreError(f"a run may have at most {MOST_TAGS} tags; nothing was changed")
    if any(len(text) > LONGEST_NAME for pair in given.items() for text in pair) or "" in given:
        raise StoreError(f"a tag needs a name; name and value may have at most {LONGEST_NAME} characters")
    return lambda known: msgspec.structs.replace(known, tags={**known.tags, **given})


def pinned(pin: bool) -> Change:
    """At the top of lists, or not."""
    return lambda known: msgspec.structs.replace(known, pinned=pin)


def archived(archive: bool) -> Change:
    """Left out of lists, or not."""
    return lambda known: msgspec.structs.replace(known, archived=archive)


def with_goals(goals: Mapping[str, str]) -> Change:
    """Goals of metrics: `min`, `max` or `unknown`; an empty one restores what the run itself says."""
    if any(goal not in ("", *GOALS, UNKNOWN) for goal in goals.values()):
        raise StoreError(f"a goal is {', '.join(GOALS)} or {UNKNOWN}; nothing was changed")
    given = {storable_text(name): goal for name, goal in goals.items()}
    if any(len(name) > LONGEST_NAME for name in given) or len(given) > MOST_TAGS:
        raise StoreError(f"at most {MOST_TAGS} goals at once, of names of at most {LONGEST_NAME} characters")

    def change(known: Annotations) -> Annotations:
        merged = {name: goal for name, goal in {**known.goals, **given}.items() if goal}
        return msgspec.structs.replace(known, goals=dict(list(merged.items())[-MOST_GOALS:]))

    return change


def apply(run_folder: Path, *changes: Change) -> None:
    """Make the changes, all at once. StoreError if the disk refuses them."""
    annotations = read_annotations(run_folder)
    for change in changes:
        annotations = change(annotations)
    try:
        write_annotations(run_folder, annotations)
    except OSError as error:
        raise StoreError(f"run {run_folder.name} could not be changed: {error.strerror}") from error
