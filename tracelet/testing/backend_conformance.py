"""Checks for authors of backends: what every backend must do. They need no test framework.

A check raises `AssertionError`. Under pytest:

    @pytest.mark.parametrize("check", BackendConformance.CHECKS)
    def test_mine(check, tmp_path):
        BackendConformance(lambda: MyBackend(MyOptions()), read=read_back, folder=tmp_path).run(check)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tracelet.backends.base import Backend, Batch, Outcome, RunDescription, SeriesPart
from tracelet.journal.records import STATUSES, Artifact
from tracelet.store.artifacts import store_artifact

START = 1_700_000_000.0
NAN, INFINITY = math.nan, math.inf
AWKWARD_VALUES = (0.5, NAN, INFINITY, -INFINITY, -0.0, 1e-300, 0.1, 0.1, 123456789.125, -1.5)
AWKWARD_STEPS = (0, 1, 1, 1, 5, 3, 7, 7, 0, 2**40)
AWKWARD_NAMES = (
    "loss", "Loss", "loss/train", "val loss (äöü)", "損失", "🙂", "a:b", "a.b", "a_b", "a-b", "a%b", "a|b", "a=b,c",
    "$x", "/lead", "../up", "double//slash", "end/", "n" * 300, "tab\there", "'quoted\"", "step", "epoch", "_hidden",
    "time",
)  # fmt: skip
MANY = 20_000


@dataclass
class Delivered:
    """What a reader found in the tracking system, under the names that the run used."""

    series: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)
    """(step, value, time in seconds) of each point, in any order."""
    params: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    status: str = ""


@dataclass(frozen=True)
class Traits:
    """What a system cannot keep, so that the checks do not require it."""

    value: Callable[[float], float] = lambda value: value
    """A value as the system returns it (in single precision, for example)."""
    time_precision: float | None = 0.002
    """Seconds; None if it stores no times."""
    params: bool = True
    artifacts: bool = True
    statuses: Mapping[str, str] | None = None
    """The status that the reader finds for each of ours; None if the system has none."""
    recognises_repeats: bool = True
    """Whether a batch that is sent again is stored once."""
    finds_run_again: bool = True
    """Whether the remote run is also found without stored state."""


Reader = Callable[[RunDescription], Delivered]


class Memory:
    """The state that a courier would keep for a backend between two opens of the same run."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.urls: list[str] = []


class BackendConformance:
    """Exercises backends created by `make` and compares them with the result of `read`. Each check needs a new one."""

    CHECKS: ClassVar[tuple[str, ...]] = (
        "awkward_points", "awkward_names", "many_points", "repeated_batch", "repeated_write", "lost_memory", "resumed",
        "params", "artifacts", "outcomes", "everything_at_once", "empty",
    )  # fmt: skip

    def __init__(self, make: Callable[[], Backend], read: Reader, folder: Path, traits: Traits = Traits()) -> None:
        self.make, self.read, self.traits = make, read, traits
        self.folder = folder
        self.memory = Memory()
        self.run_id = "conformance-run"
        self._params: dict[str, Any] = {}

    def run(self, check: str) -> None:
        """Run one of `CHECKS`."""
        getattr(self, f"check_{check}")()

    def description(self, **changes: Any) -> RunDescription:
        """The run as a courier would describe it."""
        run_folder = self.folder / "store" / "runs" / self.run_id
        (run_folder / "artifacts").mkdir(parents=True, exist_ok=True)
        plain = RunDescription(
            id=self.run_id, name="a run", project="conformance", started=START, command=("python", "train.py", "--lr"),
            folder=str(self.folder), host="host", params={}, tags={}, git={"commit": "0" * 40, "branch": "main"},
            environment={"python": {"version": "3.11"}}, artifacts_folder=run_folder / "artifacts",
            memory=dict(self.memory.values), remember=self.memory.values.__setitem__, announce=self.memory.urls.append,
        )  # fmt: skip
        return replace(plain, **changes)

    def deliver(self, *batches: Batch, outcome: Outcome | None = None) -> None:
        """Open, write the batches, close, as a courier does."""
        for batch in batches:
            self._params.update(batch.params)  # a courier describes the run by everything that its journals hold so far
        backend = self.make()
        backend.open(self.description(params=dict(self._params)))
        for number, batch in enumerate(batches):
            backend.write(replace(batch, again=number == 0))
            getattr(backend, "upload", id)(replace(batch, points=(), again=number == 0))
        backend.close(outcome)

    def expect(self, *batches: Batch) -> None:
        """Compare the points in the system with those of the batches."""
        found = self.read(self.description()).series
        wanted: dict[str, list[tuple[int, float, float]]] = {}
        for part in (part for batch in batches for part in batch.points):
            wanted.setdefault(part.name, []).extend(zip(part.steps, map(self.traits.value, part.values), part.times))
        missing, surplus = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
        assert not missing, f"metrics that did not arrive: {missing}; there are {sorted(found)}"
        assert not surplus, f"metrics that nobody logged: {surplus}"
        for name, points in wanted.items():
            _assert_same(name, points, found[name], self.traits.time_precision)

    def check_awkward_points(self) -> None:
        """NaN, infinities, tiny values, steps that repeat and decrease: every point arrives, with its step and time."""
        batch = Batch(id="rank-0.0:1-2", points=[_series("metric", AWKWARD_STEPS, AWKWARD_VALUES)])
        self.deliver(batch, outcome=FINISHED)
        self.expect(batch)

    def check_awkward_names(self) -> None:
        """Names that are long, non-ASCII, look like paths or differ only in case stay apart."""
        batch = Batch(
            id="b:1-2", points=[_series(name, (0, 1), (float(n), n + 0.5)) for n, name in enumerate(AWKWARD_NAMES)]
        )
        self.deliver(batch, outcome=FINISHED)
        self.expect(batch)

    def check_many_points(self) -> None:
        """A batch of 20,000 points of four metrics arrives complete."""
        steps, values = range(MANY // 4), [step * 0.5 for step in range(MANY // 4)]
        batch = Batch(id="b:1-2", points=[_series(f"metric/{n}", steps, values) for n in range(4)])
        self.deliver(batch, outcome=FINISHED)
        self.expect(batch)

    def check_repeated_batch(self) -> None:
        """A batch whose delivery was not recorded is sent again after the next open, and is stored once."""
        first, last = _two_batches()
        self.deliver(first, last)
        self.deliver(last, outcome=FINISHED)
        self.expect(first, last) if self.traits.recognises_repeats else self.expect(first, last, last)

    def check_repeated_write(self) -> None:
        """A batch that the same backend writes again, marked as a repeat, is stored once."""
        first, last = _two_batches()
        backend = self.make()
        backend.open(self.description())
        for batch in (replace(first, again=True), last, replace(last, again=True)):
            backend.write(batch)
        backend.close(FINISHED)
        self.expect(first, last) if self.traits.recognises_repeats else self.expect(first, last, last)

    def check_lost_memory(self) -> None:
        """After its state is lost the backend finds the run by its id, and stores nothing twice."""
        if not self.traits.finds_run_again:
            return
        first, last = _two_batches()
        self.deliver(first, last)
        self.memory.values.clear()
        self.deliver(last, outcome=FINISHED)
        self.expect(first, last)

    def check_resumed(self) -> None:
        """A finished run that resumes is the same run, and its new points follow the earlier ones."""
        first, last = _two_batches()
        self.deliver(first, outcome=Outcome("preempted", "SIGTERM", START + 50))
        self.deliver(last, outcome=FINISHED)
        self.expect(first, last)

    def check_params(self) -> None:
        """Long, non-ASCII and changed parameters are accepted; a parameter that is sent twice is stored once."""
        params: dict[str, Any] = {"lr": 0.1, "layers": "[1, 2]", "flag": True, "none": None, "optimizer/Adam/lr": 1e-3,
                                  "größe": "ä" * 100, "long": "x" * 20_000, "empty": ""}  # fmt: skip
        self.deliver(
            Batch(id="b:0-1", params=params), Batch(id="b:1-2", params={"lr": 0.1}),
            Batch(id="b:2-3", params={"lr": 0.2}), outcome=FINISHED,
        )  # fmt: skip
        self.deliver(Batch(id="b:2-3", params={"lr": 0.2}), outcome=FINISHED)
        if self.traits.params:
            found = self.read(self.description()).params
            missing = sorted(set(params) - set(found))
            assert not missing, f"parameters that did not arrive: {missing}; there are {sorted(found)}"
            assert found["optimizer/Adam/lr"] in ("0.001", "1e-3"), found["optimizer/Adam/lr"]
            assert any(value == "0.2" for name, value in found.items() if name.startswith("lr")), found

    def check_artifacts(self) -> None:
        """Copied files and folders arrive with their bytes; a reference to a file elsewhere does no harm."""
        file, folder = self.folder / "notes.txt", self.folder / "out"
        file.write_bytes(b"hello")
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "a.bin").write_bytes(bytes(range(256)))
        run = self.description()
        store, time = run.artifacts_folder.parent, int(START * 1e6)
        stored = [store_artifact(store, path, None, None, time) for path in (file, folder)]
        reference = Artifact(time=time, name="last.ckpt", path="/nowhere/last.ckpt", kind="checkpoint")
        self.deliver(Batch(id="b:0-1", artifacts=[*stored, reference]), outcome=FINISHED)
        if self.traits.artifacts:
            found = self.read(self.description()).artifacts
            assert found.get("notes.txt") == b"hello", sorted(found)
            assert found.get("out/deep/a.bin") == bytes(range(256)), sorted(found)

    def check_outcomes(self) -> None:
        """Every status with which a run can end is accepted, and shown by systems that have statuses."""
        for status in STATUSES[1:]:
            self.run_id, self.memory = f"run-{status}", Memory()
            batch = Batch(id="b:0-1", points=[_series("loss", (0,), (1.0,))])
            self.deliver(batch, outcome=Outcome(status, "for a reason", START + 100))
            self.expect(batch)
            if self.traits.statuses is not None:
                found = self.read(self.description()).status
                assert found == self.traits.statuses[status], f"a run that {status} is shown as {found!r}"

    def check_everything_at_once(self) -> None:
        """One batch that holds every kind of record is accepted completely."""
        batch = _mixed_batch()
        self.deliver(batch, outcome=FINISHED)
        self.expect(batch)

    def check_empty(self) -> None:
        """A run without records and an empty batch are accepted."""
        self.deliver(Batch(id="b:0-1"), outcome=FINISHED)
        self.deliver(outcome=FINISHED)
        assert self.read(self.description()).series == {}


FINISHED = Outcome("finished", "", START + 100)


def _series(name: str, steps: Any, values: Any, **more: Any) -> SeriesPart:
    times = [START + 0.25 * number for number in range(len(steps))]
    return SeriesPart(name, tuple(steps), tuple(values), times, [-1] * len(times), **more)


def _two_batches() -> tuple[Batch, Batch]:
    first = Batch(id="b:1-2", points=[_series("loss", range(5), [5.0, 4.0, 3.0, 2.0, 1.0])], params={"lr": 0.1})
    later = replace(_series("loss", (5, 6, 6), (NAN, 0.5, 0.5)), times=[START + 2, START + 3, START + 3.5])
    return first, Batch(id="b:2-3", points=[later, _series("accuracy", (5, 6), (0.5, 0.75))], params={"depth": 3})


def _mixed_batch() -> Batch:
    from tracelet.backends.base import SpanPart
    from tracelet.journal.records import Event

    event = Event(time=int(START * 1e6), name="fit started", attributes={"epochs": 3, "odd": float("nan")})
    span = SpanPart(1, 0, "fit", int(START * 1e9), int(START * 1e9) + 5, attributes={"a": 1}, events=(event,))
    git = {"commit": "1" * 40, "branch": "main", "diff": "--- a\n+++ b\n", "remotes": {"origin": "https://x/y"}}
    return Batch(
        id="rank-0.0:7-9", params={"lr": 0.5}, tags={"team": "vision", "ünïcode tag": "✓"}, spans=[span],
        events=[event],
        facts={"git": git, "environment": {"python": {"version": "3.11"}, "packages": {"torch": "2.13.0"}}},
        points=[
            _series("train/loss", (0, 1), (2.0, 1.0), stage="train", fit=1),
            _series("system/cpu", (0, 1), (50.0, 60.0), system=True),
        ],
    )  # fmt: skip


def _assert_same(
    name: str, wanted: list[tuple[int, float, float]], found: list[tuple[int, float, float]], precision: float | None
) -> None:
    assert len(wanted) == len(found), f"{name!r} has {len(found)} points instead of {len(wanted)}"
    for one, other in zip(sorted(wanted, key=_order), sorted(found, key=_order)):
        assert one[0] == other[0] and repr(one[1]) == repr(float(other[1])), f"{name!r}: {other} instead of {one}"
        if precision is not None:
            assert abs(one[2] - other[2]) <= precision, f"{name!r}: time {other[2]} instead of {one[2]}"


def _order(point: tuple[int, float, float]) -> tuple[int, str, float]:
    return point[0], repr(float(point[1])), point[2]


class CollectingBackend:
    """Keeps the batches that it receives in a list, for tests in which a courier needs a backend."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def open(self, run: RunDescription) -> None:
        """Do nothing."""

    def write(self, batch: Batch) -> None:
        """Keep the batch, unless it is kept already."""
        if batch.id not in {one.id for one in self.batches}:
            self.batches.append(batch)

    def close(self, outcome: Outcome | None) -> None:
        """Do nothing."""
