"""Hydra's jobs: the resolved configuration, the files in `.hydra/`, and one run per job of a sweep.

Called on the user's thread at the start and the end of a job. The jobs of `--multirun` run one after the other in one
process. If `tracelet run` has started the recording, each job becomes a run of its own with the job's number in its
name, and all have the tag `group`. If the program has started the run, it stays one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tracelet.capture.exception_text import describe_exception
from tracelet.capture.omegaconf_values import plain_values
from tracelet.guard import guard
from tracelet.integrations.parameter_source import ParameterSource
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import FAILED, Tags

FILES = ("config.yaml", "hydra.yaml", "overrides.yaml")


class HydraIntegration(ParameterSource):
    """Records each job's configuration, in a sweep in a run of its own."""

    name = "hydra"

    def patches(self) -> Iterable[Patch]:
        """Hydra's calls to its callbacks, with or without callbacks."""
        return [
            Patch("hydra._internal.callbacks", "Callbacks.on_job_start", self._around_start),
            Patch("hydra._internal.callbacks", "Callbacks.on_job_end", self._around_end),
        ]

    def start(self) -> None:
        """Patch Hydra; a job that is already running belongs to this run."""
        self._job: int | None = None
        self._error: BaseException | None = None
        super().start()
        module = sys.modules.get("hydra.core.hydra_config")
        with guard("looking for the configuration of Hydra"):
            if module is not None and module.HydraConfig.initialized():
                config = module.HydraConfig.get()._get_parent()
                if config is not None:
                    self._take(config)

    def _around_start(self, original: Function) -> Function:
        def on_job_start(callbacks: Any, config: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording the configuration of Hydra"):
                self._begin(config)
            return original(callbacks, config, *args, **kwargs)

        return on_job_start

    def _around_end(self, original: Function) -> Function:
        def on_job_end(callbacks: Any, *args: Any, **kwargs: Any) -> Any:
            with guard("recording how a job of Hydra ended"):
                self._end(kwargs.get("job_return", args[-1] if args else None))
            return original(callbacks, *args, **kwargs)

        return on_job_end

    def _begin(self, config: Any) -> None:
        number = _number(config)
        if number is None or self.runs is None or not self.runs.can_split:
            self._take(config)
        elif self._job is None:
            self.runs.rename(str(number))
            self._take(config)
        else:
            # The next run has its own integration, which finds the running job.
            self.runs.next(str(number), self._error)

    def _take(self, config: Any) -> None:
        self._job = number = _number(config)
        self.tell(plain_values(config, without="hydra"))
        hydra = config.hydra
        folder = hydra.output_subdir
        if folder is not None:
            for name in FILES:
                self.keep(Path(hydra.runtime.output_dir, folder, name), f"hydra/{name}", "config")
        if number is not None:
            tags = {"group": str(hydra.sweep.dir), "hydra/job": str(number), "hydra/overrides": _overrides(hydra)}
            self.sink.emit(Tags(time=time.time_ns() // 1000, values=tags))

    def _end(self, job: Any) -> None:
        """A failed job ends the program with an exit code and no exception."""
        error = getattr(job, "_return_value", None)
        if isinstance(error, BaseException) and getattr(job.status, "name", "") == "FAILED":
            self._error = error
            self.sink.expect(FAILED, describe_exception(error))


def _number(config: Any) -> int | None:
    """The number of a job of a sweep; None outside a sweep."""
    from omegaconf import OmegaConf

    job = config.hydra.job
    return None if OmegaConf.is_missing(job, "num") else int(job.num)


def _overrides(hydra: Any) -> str:
    return " ".join(str(text) for text in hydra.overrides.task)
