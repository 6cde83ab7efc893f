"""The tensorboard backend passes the conformance suite, read with TensorBoard's own EventAccumulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracelet.backends.base import Batch, Outcome, RunDescription, SeriesPart
from tracelet.backends.tensorboard.backend import TensorboardBackend, TensorboardOptions
from tracelet.testing import FINISHED, START, BackendConformance, Delivered, Traits

STATUSES = {"finished": "1", "failed": "2", "interrupted": "2", "preempted": "2", "pruned": "2", "killed": "2"}


def folder_of(run: RunDescription) -> Path:
    return run.store / "tensorboard" / run.project / f"a_run-{run.id}"


def read(run: RunDescription) -> Delivered:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(folder_of(run)), size_guidance={"scalars": 0}).Reload()
    found = Delivered()
    for tag in events.Tags()["scalars"]:
        found.series[tag] = [(point.step, point.value, point.wall_time) for point in events.Scalars(tag)]
    hparams = events.PluginTagToContent("hparams") if "hparams" in events._plugin_to_tag_to_content else {}
    for tag, content in hparams.items():
        if tag == metadata.SESSION_START_INFO_TAG:
            for name, value in metadata.parse_session_start_info_plugin_data(content).hparams.items():
                kind = value.WhichOneof("kind")
                number = getattr(value, kind)
                found.params[name] = str(number)
        elif tag == metadata.SESSION_END_INFO_TAG:
            found.status = str(metadata.parse_session_end_info_plugin_data(content).status)
    return found


def single(value: float) -> float:
    """TensorBoard keeps single precision."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def suite(folder: Path) -> BackendConformance:
    traits = Traits(value=single, time_precision=0.0, artifacts=False, statuses=STATUSES)
    return BackendConformance(lambda: TensorboardBackend(TensorboardOptions()), read, folder, traits)


@pytest.mark.parametrize("check", BackendConformance.CHECKS)
def test_conformance(check: str, tmp_path: Path) -> None:
    """What every backend must do, tensorboard does."""
    suite(tmp_path).run(check)


def test_a_torn_end_costs_nothing(tmp_path: Path) -> None:
    """A file that was cut while a batch was written keeps what is whole; the batch comes again and fills the rest."""
    conformance = suite(tmp_path)
    times = [START + number for number in range(100)]
    part = SeriesPart("loss", range(100), [1.0 / (number + 1) for number in range(100)], times, [-1] * 100)
    batch = Batch(id="b:1-2", points=[part])
    conformance.deliver(batch)
    (path,) = [path for path in folder_of(conformance.description()).iterdir() if ".hparams" not in path.name]
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)
    for _ in range(3):
        conformance.deliver(batch)
    conformance.deliver(batch, outcome=FINISHED)
    conformance.expect(batch)


def test_tensorboard_lists_the_run_and_its_status(tmp_path: Path) -> None:
    """The hparams plugin's session says how the run ended, also where the parameters came in several batches."""
    conformance = suite(tmp_path)
    conformance.deliver(
        Batch(id="b:0-1", params={"lr": 0.5}), Batch(id="b:1-2", params={"depth": 3}),
        outcome=Outcome("killed", "SIGKILL", START + 5),
    )  # fmt: skip
    found = read(conformance.description())
    assert found.params == {"lr": "0.5", "depth": "3.0"}
    assert found.status == STATUSES["killed"]
