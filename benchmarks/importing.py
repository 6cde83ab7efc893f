"""How fast runs of other trackers are read: event files beside EventAccumulator, `.wandb` files beside protobuf.

    python benchmarks/importing.py [--scalars 2000000] [--rows 100000] [--runs 200]

Prints ratios of processor time, both sides in one run: EventAccumulator (unlimited sizes) over a whole import into a
store, and over reading alone; decoding a `.wandb` file's records with wandb's own protobuf over our reader; runs a
second for a folder of small runs; and the peak of memory while importing.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tracelet.importers.base import PointBatch, SourceRun
from tracelet.importers.record_log import RecordLog
from tracelet.importers.run_import import find, import_runs
from tracelet.importers.tensorboard import TensorboardImporter
from tracelet.importers.wandb_offline.importer import WandbImporter

TAGS = ("train/loss", "val/acc", "lr-Adam", "train/grad_norm", "system/gpu0")
MEGABYTE = 1024


def timed(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def write_events(folder: Path, scalars: int) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True)
    with open(folder / "events.out.tfevents.1.host", "wb") as file:
        writer = RecordWriter(file)
        for number in range(scalars):
            value = Summary.Value(tag=TAGS[number % len(TAGS)], simple_value=number * 0.37)
            event = Event(wall_time=1.7e9 + number * 0.001, step=number // len(TAGS), summary=Summary(value=[value]))
            writer.write(event.SerializeToString())


def accumulate(folder: Path) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    return sum(len(accumulator.Scalars(tag)) for tag in accumulator.Tags()["scalars"])


def read(importer: TensorboardImporter | WandbImporter, run: SourceRun) -> int:
    return sum(len(item.steps) for item in importer.read(run) if isinstance(item, PointBatch))


def event_files(root: Path, scalars: int) -> None:
    write_events(root / "events", scalars)
    importers = {"tensorboard": TensorboardImporter()}
    (run,) = importers["tensorboard"].find(root / "events")
    reading = timed(lambda: read(importers["tensorboard"], run))
    importing = timed(lambda: list(import_runs([run], importers, root / "store")))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MEGABYTE
    theirs = timed(lambda: accumulate(root / "events"))
    print(
        f"{scalars:,} scalars: EventAccumulator / reading {theirs / reading:.1f}, / importing {theirs / importing:.1f}"
    )
    print(f"peak of memory while importing: {peak:.0f} MB (the writer of the file included)")


def wandb_file(root: Path, rows: int) -> None:
    import os

    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
    import wandb
    from wandb.proto import wandb_internal_pb2

    with wandb.init(project="p", dir=root, settings=wandb.Settings(x_disable_stats=True)) as run:
        for row in range(rows):
            run.log({"loss": 1 / (row + 1), "acc": row * 0.37, "lr": 1e-3, "grad": row**0.5, "val/x": -row * 0.1})
    time.sleep(3)  # wandb returns before its file is written
    importer = WandbImporter()
    (source,) = importer.find(root)
    (path,) = [one for one in root.rglob("run-*.wandb") if not one.parent.is_symlink()]

    def decode() -> int:
        found = 0
        for record in RecordLog(path).records():
            message = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            message.ParseFromString(record)
            found += sum(float(item.value_json) == 0 for item in message.history.item)
        return found

    theirs, ours = timed(decode), timed(lambda: read(importer, source))
    print(f"{rows:,} rows: wandb's protobuf over our framing / ours {theirs / ours:.2f}")


def small_runs(root: Path, runs: int) -> None:
    for number in range(runs):
        write_events(root / f"run-{number:04}", 200)
    importers = {"tensorboard": TensorboardImporter()}
    seconds = timed(lambda: list(import_runs(find([root], importers), importers, root / "store")))
    print(f"{runs:,} runs of 200 scalars: {runs / seconds:.0f} runs a second of processor time")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scalars", type=int, default=2_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        event_files(root / "tensorboard", options.scalars)
        small_runs(root / "small", options.runs)
        wandb_file(root, options.rows)


if __name__ == "__main__":
    main()
