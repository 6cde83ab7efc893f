"""Reports and traces of profilers as artifacts of the run: Lightning's profilers and `torch.profiler`.

Called on the user's thread when a profiler has written its report or exported its trace. Nothing is computed a second
time: the text is the one that the profiler has printed, the file the one that it has written.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.base import Integration
from tracelet.integrations.patching import Function, Patch
from tracelet.journal.records import Artifact

ROOTS = ("lightning.pytorch.profilers", "pytorch_lightning.profilers")
REPORTS = {"simple": "SimpleProfiler", "advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}
LARGEST_COPY = 64 * 1024 * 1024
"""Bytes of a trace up to which it is copied on the training's thread; a larger one is referred to where it is."""


class ProfilersIntegration(Integration):
    """Keeps what profilers write."""

    name = "profilers"

    def patches(self) -> Iterable[Patch]:
        """Where a report is made, and where a trace is exported."""
        self._describing = self._exporting = 0
        reports = [
            Patch(f"{root}.{module}", f"{kind}.summary", self._around_summary(module), optional=True)
            for root in ROOTS
            for module, kind in REPORTS.items()
        ]
        describing = [
            Patch(f"{root}.profiler", "Profiler.describe", self._around_describe, optional=True) for root in ROOTS
        ]
        trace = self._around_export
        return [
            *reports,
            *describing,
            Patch("torch.profiler.profiler", "_KinetoProfile.export_chrome_trace", trace, optional=True),
            Patch("torch.autograd.profiler", "profile.export_chrome_trace", trace, optional=True),
        ]

    def _around_describe(self, original: Function) -> Function:
        def describe(profiler: Any, *args: Any, **kwargs: Any) -> Any:
            self._describing += 1
            try:
                return original(profiler, *args, **kwargs)
            finally:
                self._describing -= 1

        return describe

    def _around_summary(self, kind: str) -> Callable[[Function], Function]:
        def around(original: Function) -> Function:
            def summary(profiler: Any, *args: Any, **kwargs: Any) -> Any:
                text = original(profiler, *args, **kwargs)
                with guard("keeping a profiler's report"):
                    # A program may ask for a summary at any time; the report is the one that the trainer asks for.
                    if self._describing and isinstance(text, str) and text:
                        stage = getattr(profiler, "_stage", None)
                        stage = str(getattr(stage, "value", stage) or "run")
                        self._keep_text(f"profiler/{kind}-{stage}.txt", text)
                return text

            return summary

        return around

    def _keep_text(self, name: str, text: str) -> None:
        if self.folder is None:
            return
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            path = Path(place, "report.txt")
            path.write_text(text, encoding="utf-8")
            self.keep(path, name, "profile")

    def _around_export(self, original: Function) -> Function:
        def export_chrome_trace(profiler: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            self._exporting += 1
            try:
                result = original(profiler, path, *args, **kwargs)
            finally:
                self._exporting -= 1
            with guard("keeping a profiler's trace"):
                if not self._exporting:  # torch.profiler exports through the profiler that it is built on
                    self._keep_trace(os.fspath(path))
            return result

        return export_chrome_trace

    def _keep_trace(self, path: str) -> None:
        name = f"profiler/{Path(path).name}"
        if not os.path.isfile(path):
            return
        size = os.path.getsize(path)
        if size <= LARGEST_COPY:
            self.keep(path, name, "trace")
        else:
            now = time.time_ns() // 1000
            self.sink.emit(Artifact(time=now, name=name, path=os.path.abspath(path), kind="trace", size=size))
