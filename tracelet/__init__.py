"""tracelet: experiment tracking for PyTorch and Lightning with one line, or none.

    import tracelet
    tracelet.start_logging("resnet", project="vision", backend=["mlflow", "wandb"])

The public surface and nothing else. Importing it loads neither torch, numpy, Lightning nor any SDK, and of our own
modules only what the first call needs: the others are loaded by the first `start_logging()`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tracelet._version import __version__
from tracelet.errors import TraceletError

if TYPE_CHECKING:
    from tracelet.media.audio import Audio
    from tracelet.media.curves import ConfusionMatrix, PRCurve, ROCCurve
    from tracelet.media.figure import Figure
    from tracelet.media.histogram import Histogram
    from tracelet.media.image import Image
    from tracelet.media.object3d import Object3D
    from tracelet.media.table import Table
    from tracelet.media.text import Text
    from tracelet.media.video import Video
    from tracelet.session.experiment import Experiment
    from tracelet.session.fit_block import FitBlock
    from tracelet.session.sweep_calls import SweepResult
    from tracelet.store.store import Store
    from tracelet.telemetry.recording.span import span

__all__ = [
    "Audio",
    "ConfusionMatrix",
    "Experiment",
    "Figure",
    "Histogram",
    "Image",
    "Object3D",
    "PRCurve",
    "ROCCurve",
    "Table",
    "Text",
    "TraceletError",
    "Video",
    "__version__",
    "alert",
    "define_metric",
    "fit",
    "get_active_experiment",
    "log",
    "open_store",
    "span",
    "start_logging",
    "stop_logging",
    "sweep",
]


def start_logging(
    exp_name: str | None = None,
    project: str | None = None,
    backend: str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    *,
    api_key: str | None = None,
    backend_url: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | Sequence[str] | None = None,
    params: Mapping[str, Any] | None = None,
    run_id: str | None = None,
    resume: str | None = None,
) -> Experiment:
    """Record this process's trainings from now on, until `stop_logging()` or the end of the process.

    `exp_name`: name of the run (default: the script's). `backend`: where to deliver besides the local store: a name, a
    list, or a table of options by name. `config`: settings by name (see the settings page), and one table per backend.
    `tags`: name to text, or a list of names. `params`: hyperparameters to record at once, as for `log_params`.

    `run_id`: the run's id; one that is there goes on. `resume`: the run to go on with, by id or name, or `auto`: the
    one that this cluster job (or torchrun id) began, or that wrote the checkpoint named on the command line.

    Called again it returns the active run, which a `with` around that call does not end; `AlreadyActive` for another
    name or project. Records nothing in workers, forked children and if `enabled=false`. Raises `TraceletError`s.
    """
    from tracelet.session.start import start

    arguments = {
        "experiment_name": exp_name, "project": project, "api_key": api_key, "backend_url": backend_url,
        "run_id": run_id, "resume": resume,
    }  # fmt: skip
    return start(arguments, backend, config, tags, params)


def stop_logging(timeout: float | None = None) -> None:
    """End the active run as finished: everything is on disk, every patch reverted. Without a run it does nothing.

    `timeout`: longest wait, in seconds, for what is still to be delivered (default: the setting `stop_timeout`).
    """
    session = sys.modules.get("tracelet.session.active_session")  # not loaded: nothing was ever started
    if session is not None:
        session.stop(timeout)


def get_active_experiment() -> Experiment | None:
    """The handle of the run that is active in this process, or None."""
    session = sys.modules.get("tracelet.session.active_session")  # not loaded: nothing was ever started
    experiment: Experiment | None = session.active() if session is not None else None
    return experiment


def log(metrics: Mapping[str, Any], step: int | None = None) -> None:
    """Record numbers and media in the active run, nested names joined with `/`; never raises.

    Reports any other value once, and a call without a run.
    """
    experiment = get_active_experiment()
    if experiment is None:
        if sys.is_finalizing():  # a finalizer logs while Python shuts down, when nothing can be imported any more
            return
        from tracelet.guard import say

        say(
            "log() was called without an active run; nothing was recorded. Type tracelet.start_logging('name') first.",
            once="log",
        )
        return
    experiment.log(metrics, step)


def alert(title: str, text: str = "", level: str = "info") -> None:
    """Record an alert of the active run; the agent sends it to the addresses in the setting `alerts`, once.

    `level`: `info`, `warning` or `error`. Costs microseconds; without a run it does nothing. Raises `InvalidArgument`.
    """
    experiment = get_active_experiment()
    if experiment is not None:
        experiment.alert(title, text, level)


def define_metric(name: str, goal: str | None = None, x: str | None = None, summary: str | None = None) -> None:
    """State what a metric of the active run is like, before or after its first point; without a run it does nothing.

    `name`: a metric, or a pattern such as `val/*`. `goal`: `min` where lower is better, `max` where higher is better.
    `x`: its x axis in the dashboard: `step`, `epoch`, `time`, `relative`, or the name of another metric. `summary`: the
    value that stands for it in lists: `last` (the default), `min`, `max` or `best`. What is left out stays as it was.

    Raises `InvalidArgument`.
    """
    experiment = get_active_experiment()
    if experiment is not None:
        experiment.define_metric(name, goal, x, summary)


def fit(params: Mapping[str, Any] | None = None, /, **more: Any) -> FitBlock:
    """A block of the program that is one fit of the active run: `with tracelet.fit(fold=3, lr=0.1):`.

    What is logged inside belongs to it, and so do these parameters. The first training of a library inside is the same
    fit; each further one is a fit of its own with the same parameters. Without a run it does nothing.
    """
    from tracelet.session.fit_block import FitBlock

    experiment = get_active_experiment()
    return FitBlock(None if experiment is None else experiment.sink, {**(params or {}), **more})


def sweep(
    config: str | os.PathLike[str] | Mapping[str, Any],
    function: Callable[[dict[str, Any]], Any],
    count: int | None = None,
    *,
    name: str | None = None,
    project: str | None = None,
    seed: int | None = None,
    backend: str | Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    settings: Mapping[str, Any] | None = None,
    resume: str = "",
) -> SweepResult:
    """Search hyperparameters: call `function(parameters)` for each trial, in this process, and record each as a run.

    `config`: a sweep configuration in the format of Weights & Biases, as a file or a mapping. `count`: number of trials
    (default: all of a grid, or `run_cap`). The metric is what the function logs, or the number that it returns.
    `resume`: a sweep whose program was interrupted, by id, name or `latest`. Raises `SweepError`. Needs Optuna.
    """
    from tracelet.session.sweep_calls import run_sweep

    given = {"name": name, "project": project, "seed": seed, "backend": backend, "config": settings}
    return run_sweep(config, function, count, given, resume)


def open_store(path: str | os.PathLike[str] | None = None) -> Store:
    """The store in the folder given, or the default one (TRACELET_DIR, else `.tracelet` here): runs to be read."""
    from tracelet.store.store import Store

    return Store.open(path)


_LATER = {
    "Audio": "tracelet.media.audio",
    "ConfusionMatrix": "tracelet.media.curves",
    "Experiment": "tracelet.session.experiment",
    "Fit": "tracelet.store.fits",
    "Figure": "tracelet.media.figure",
    "Histogram": "tracelet.media.histogram",
    "Image": "tracelet.media.image",
    "Object3D": "tracelet.media.object3d",
    "PRCurve": "tracelet.media.curves",
    "ROCCurve": "tracelet.media.curves",
    "Table": "tracelet.media.table",
    "Text": "tracelet.media.text",
    "Video": "tracelet.media.video",
    "span": "tracelet.telemetry.recording.span",
    "telemetry": "tracelet.telemetry",
}
"""Public names that are loaded when they are first asked for, and the module that has each."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LATER[name])
    found = globals()[name] = module if _LATER[name] == f"{__name__}.{name}" else getattr(module, name)
    return found


def __dir__() -> list[str]:
    return [*globals(), *_LATER]
