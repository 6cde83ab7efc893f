"""Event files written by torch's SummaryWriter, imported and compared with TensorBoard's own reader."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event as EventProto
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.scalar.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import SummaryWriter

from tracelet.importers.event_files.checksums import crc32c, effect, masked
from tracelet.importers.run_import import Failure, find, import_runs
from tracelet.importers.run_writer import Written
from tracelet.importers.tensorboard import TensorboardImporter
from tracelet.store.run import Run
from tracelet.store.store import Store
from tracelet.testing import ImporterConformance

IMPORTERS = {"tensorboard": TensorboardImporter()}
HARD = [1.5, math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 3.0, 7.0]


def imported(folder: Path, store: Path) -> list[Written]:
    """What an import of the folder wrote; every run has to succeed."""
    outcomes = list(import_runs(find([folder], IMPORTERS), IMPORTERS, store))
    assert [one for one in outcomes if isinstance(one, Failure)] == []
    return [one for one in outcomes if isinstance(one, Written)]


def only_run(folder: Path, store: Path) -> Run:
    (written,) = imported(folder, store)
    return Store.open(store).run(written.run)


def points(run: Run, name: str) -> list[tuple[int, bytes, float]]:
    """Step, bits of the value, time."""
    series = run.series(name)
    return [(int(s), struct.pack("<d", v), float(t)) for s, v, t in zip(series.steps, series.values, series.times)]


def oracle(folder: Path) -> dict[str, list[tuple[int, bytes, float]]]:
    """The same as TensorBoard's reader has it."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(e.step, struct.pack("<d", e.value), round(e.wall_time, 6)) for e in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def assert_same(run: Run, folder: Path) -> None:
    expected = oracle(folder)
    assert run.metrics() == sorted(expected)
    for tag, wanted in expected.items():
        found = points(run, tag)
        assert [one[:2] for one in found] == [one[:2] for one in wanted], tag
        assert np.allclose([one[2] for one in found], [one[2] for one in wanted], atol=2e-6, rtol=0), tag


def test_scalars_are_those_of_tensorboards_reader(tmp_path: Path) -> None:
    """Hard values, 64-bit steps, steps that repeat and fall, times as given: all points in their order."""
    with SummaryWriter(tmp_path / "run") as writer:
        for place, value in enumerate(HARD * 40):
            writer.add_scalar("loss/train", value, place * 129, walltime=1.7e9 + place / 7)
            writer.add_scalar("loss/valid", value, 2**53 + 1 - place)
            writer.add_scalar(f"layer.{place % 30}", place * 0.1, place % 5)
        writer.add_scalar("far", 1.0, 2**62)
        writer.add_scalar("no/step", 2.0)
    assert_same(only_run(tmp_path, tmp_path / "store"), tmp_path / "run")


def test_importing_again_adds_what_is_new_and_nothing_twice(tmp_path: Path) -> None:
    """A source that grows between imports, also in a second file: each point once, and an import of nothing new."""
    for part in range(3):
        with SummaryWriter(tmp_path / "run", filename_suffix=f".{part}") as writer:
            for step in range(part * 50, part * 50 + 50):
                writer.add_scalar("loss", step * 0.5, step)
        (written,) = imported(tmp_path, tmp_path / "store")
        assert (written.points, written.known) == (50, part * 50)
    (written,) = imported(tmp_path, tmp_path / "store")
    assert (written.points, written.known, written.records) == (0, 150, 0)
    assert_same(Store.open(tmp_path / "store").run(written.run), tmp_path / "run")


def test_a_resumed_training_supersedes_what_it_abandoned(tmp_path: Path) -> None:
    """`purge_step` cuts every metric as TensorBoard does; the abandoned points stay as an earlier branch."""
    with SummaryWriter(tmp_path / "run") as writer:
        for step in range(100):
            writer.add_scalar("loss", step, step)
            writer.add_scalar("only/before", step, step)
    with SummaryWriter(tmp_path / "run", purge_step=60, filename_suffix=".again") as writer:
        for step in range(70, 90):
            writer.add_scalar("loss", -step, step)
    run = only_run(tmp_path, tmp_path / "store")
    assert_same(run, tmp_path / "run")
    assert run.summary("only/before").last_step == 59 and run.chart("only/before").steps.max() == 59
    assert run.series("loss", branch=0).steps.tolist() == list(range(100))
    assert imported(tmp_path, tmp_path / "store")[0].points == 0


def test_new_style_scalars_are_scalars(tmp_path: Path) -> None:
    """Tensors of the scalars plug-in, single and double, are points."""
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / "events.out.tfevents.1.host", "wb") as file:
        writer = RecordWriter(file)
        for step in range(20):
            tensor = TensorProto(dtype=1, float_val=[step * 0.5])
            if step % 2:
                tensor = TensorProto(dtype=2, tensor_content=struct.pack("<d", step * 0.1))
            value = Summary.Value(tag="loss", tensor=tensor, metadata=create_summary_metadata("loss", ""))
            writer.write(EventProto(wall_time=step, step=step, summary=Summary(value=[value])).SerializeToString())
    series = only_run(tmp_path, tmp_path / "store").series("loss")
    assert series.values.tolist() == [step * (0.1 if step % 2 else 0.5) for step in range(20)]
    assert series.steps.tolist() == list(range(20))


def test_hyperparameters_texts_and_what_is_left_behind(tmp_path: Path) -> None:
    """`add_hparams` gives parameters and a status, `add_text` an event; pictures are counted in a notice."""
    with SummaryWriter(tmp_path / "run") as writer:
        writer.add_text("notes", "# a *title*", 3)
        writer.add_histogram("weights", np.arange(5.0), 1)
        writer.add_hparams({"lr": 0.1, "optimizer": "adam", "nesterov": True}, {"hp/metric": 0.5}, run_name=".")
    run = only_run(tmp_path, tmp_path / "store")
    assert run.params == {"lr": 0.1, "optimizer": "adam", "nesterov": True}
    (text,) = run.events("text")
    assert text.attributes == {"name": "notes", "step": 3, "text": "# a *title*"}
    assert any("'histograms'" in problem and problem.startswith("rank-0.0") for problem in run.problems)


def test_each_folder_with_event_files_is_a_run(tmp_path: Path) -> None:
    """Folders at any depth are runs, named by their place."""
    for name in ("a", "b/c"):
        with SummaryWriter(tmp_path / name) as writer:
            writer.add_scalar("loss", 1.0, 1)
    written = imported(tmp_path, tmp_path / "store")
    assert sorted(one.name for one in written) == ["a", "b/c"]
    assert len({one.run for one in written}) == 2


@pytest.mark.parametrize("cut", [1, 5, 20, 40])
def test_a_torn_tail_is_waited_for(tmp_path: Path, cut: int) -> None:
    """A file that ends within a record gives all points before it, and the last one when it is complete."""
    with SummaryWriter(tmp_path / "run") as writer:
        for step in range(10):
            writer.add_scalar("loss", step, step)
    (file,) = (tmp_path / "run").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    assert imported(tmp_path, tmp_path / "store")[0].points == 9
    file.write_bytes(whole)
    assert imported(tmp_path, tmp_path / "store")[0].points == 1


def test_damaged_records_are_counted_and_the_others_imported(tmp_path: Path) -> None:
    """A changed byte in a record's data costs that record; one in a length ends the file, with a notice."""
    with SummaryWriter(tmp_path / "run") as writer:
        for step in range(1, 101):
            writer.add_scalar("loss", step, step)
    (file,) = (tmp_path / "run").iterdir()
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 0x40
    file.write_bytes(whole)
    run = only_run(tmp_path, tmp_path / "store")
    assert run.problems
    known = set(range(1, 101))
    assert set(run.series("loss").steps.tolist()) < known


@given(st.binary(max_size=200), st.lists(st.binary(min_size=1, max_size=1), min_size=1, max_size=8))
def test_checksums_follow_from_those_of_similar_records(data: bytes, changed: list[bytes]) -> None:
    """The checksum of a record is that of a similar one, combined with what each changed byte does."""
    other = bytearray(data + b"".join(changed))
    before = bytes(other)
    for distance, byte in enumerate(changed, 1):
        other[-distance] = byte[0] ^ 0x5A
    crc = crc32c(before)
    for distance in range(1, len(changed) + 1):
        crc ^= int(effect(distance)[before[-distance] ^ other[-distance]])
    assert crc == crc32c(bytes(other))
    assert masked(crc) <= 0xFFFFFFFF


@pytest.mark.parametrize("check", ImporterConformance.CHECKS)
def test_it_does_what_every_importer_must(check: str, tmp_path: Path) -> None:
    """Each check of the suite for importers passes, with a training that was resumed among the runs."""
    for name, first in (("resumed", 0), ("resumed", 5), ("plain", 0)):
        with SummaryWriter(tmp_path / "source" / name, purge_step=first or None, filename_suffix=f".{first}") as writer:
            for step, value in enumerate(HARD, first):
                writer.add_scalar("loss", value, step)
                writer.add_scalar("acc", -value, step)
    ImporterConformance(TensorboardImporter(), tmp_path / "source", tmp_path).run(check)
