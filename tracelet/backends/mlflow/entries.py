"""Sends points, parameters and tags to one MLflow run, so that a refused one does not lose any of the others.

Used by the `mlflow` backend on the courier's thread, inside `calling`. A refusal that MLflow does not explain (status
500) counts as one only if the run accepts a harmless tag right afterwards; otherwise it is an outage and raised as
such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tracelet.backends.legal_names import HASH_LENGTH, trace
from tracelet.backends.mlflow.metric_rows import MAX_NAME_LENGTH
from tracelet.backends.mlflow.runs import RUN_ID
from tracelet.backends.refusals import first_line
from tracelet.errors import Unavailable

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

REFUSED = frozenset({
    "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_LIMIT_EXCEEDED",
    "RESOURCE_EXHAUSTED",
})  # fmt: skip
"""Error codes by which MLflow refuses a request."""
UNKNOWN = frozenset({"INTERNAL_ERROR", "UNKNOWN", "DATA_LOSS"})
"""Error codes that MLflow uses both for an outage and for data that its store cannot hold."""
TRIES = 2
"""How often something is refused without an explanation before it counts as refused."""

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How one kind of entry is sent: `word` as `log_batch` names it, `key` of an item, `made` with a key."""

    word: str
    key: Callable[[T], str]
    made: Callable[[T, str], Any]
    left: Callable[[Sequence[T]], list[T]] = list
    """The items that the run does not have: those before a refused one in the same request may be stored."""


def flat_key(key: str) -> str:
    """A replacement for a name that a file store cannot hold: `val/loss` beside `val`."""
    return f"{key.replace('/', '.')[: MAX_NAME_LENGTH - HASH_LENGTH - 1]}-{trace(key)}"


class Entries:
    """Sends to one run. `moved` maps keys to the flat ones that replace them; the backend keeps it."""

    def __init__(self, client: MlflowClient, run_id: str, ours: str, moved: Mapping[str, str]) -> None:
        self._client, self._run_id, self._ours = client, run_id, ours
        self.moved = dict(moved)
        self._refused: dict[tuple[str, str], str] = {}
        self._unexplained = False
        """Whether the last refusal came without an explanation."""

    def send(self, kind: Kind[T], items: Sequence[T]) -> Iterator[tuple[list[T], str]]:
        """Send all entries of one request; returns the items that are refused permanently, and why."""
        known = [item for item in items if (kind.word, kind.key(item)) in self._refused]
        rest = [item for item in items if (kind.word, kind.key(item)) not in self._refused] if known else list(items)
        for item in known:
            yield [item], self._refused[kind.word, kind.key(item)]
        if rest and (why := self._why_not(kind, rest)):
            yield from self._apart(kind, kind.left(rest) if self._unexplained else rest, why)

    def _apart(self, kind: Kind[T], items: Sequence[T], why: str) -> Iterator[tuple[list[T], str]]:
        """Find the refused items among items that were refused together: by key first, then by halves."""
        groups: dict[str, list[T]] = {}
        for item in items:
            groups.setdefault(kind.key(item), []).append(item)
        if len(groups) > 1:
            keys = list(groups)
            for half in (keys[: len(keys) // 2], keys[len(keys) // 2 :]):
                part = kind.left([item for key in half for item in groups[key]])
                if part and (said := self._why_not(kind, part)):
                    yield from self._apart(kind, part, said)
            return
        (key,) = groups
        if self._moves(kind, key, items):
            return
        if len(items) == 1:
            yield [items[0]], why
            return
        if all(self._why_not(kind, [item]) for item in (items[0], items[-1])):
            self._refused[kind.word, key] = why  # not the value, but the name
            yield list(items), why
            return
        middle = len(items) // 2
        for half_items in (items[:middle], items[middle:]):
            part = kind.left(half_items)
            if part and (said := self._why_not(kind, part)):
                yield from self._apart(kind, part, said)

    def _moves(self, kind: Kind[T], key: str, items: Sequence[T]) -> bool:
        """Whether the flat name is accepted after the name itself was refused without an explanation."""
        if key in self.moved or not self._unexplained:
            return False
        self.moved[key] = flat_key(key)
        if not self._why_not(kind, kind.left(items)):
            return True
        del self.moved[key]
        return False

    def _why_not(self, kind: Kind[T], items: Sequence[T]) -> str:
        """Log the items; why MLflow refuses them, or an empty string."""
        from mlflow.exceptions import MlflowException

        self._unexplained = False
        why, left = "", list(items)
        for attempt in range(TRIES):
            if attempt:
                left = kind.left(left)  # a file store keeps the items before the refused one
            try:
                self._log(kind, left)
            except MlflowException as error:
                why = str(error.message)
                if error.error_code in REFUSED:
                    return why
                if error.error_code not in UNKNOWN:
                    raise
                if not self._takes_others():
                    raise Unavailable(f"MLflow does not answer ({first_line(error)})") from error
                self._unexplained = True
            else:
                return ""
        return why

    def _log(self, kind: Kind[T], items: Sequence[T]) -> None:
        made = [kind.made(item, self.moved.get(kind.key(item), kind.key(item))) for item in items]
        entries: dict[str, Any] = {kind.word: made}
        if made:
            self._client.log_batch(self._run_id, **entries)

    def _takes_others(self) -> bool:
        """Whether the run accepts an entry that it can certainly store: its own tag, once more."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_tag(self._run_id, RUN_ID, self._ours)
        except MlflowException:
            return False
        return True
