"""ClearML: what a program reports to its tasks and connects to them, online or offline.

Called on the user's threads around the methods of `Logger` and `Task`. A scalar's series is `title/series`, as ClearML
shows it, or the one name where both are the same. What ClearML's own monitor reports of the machine is left to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracelet.integrations.metric_values import as_step
from tracelet.integrations.patching import Patch
from tracelet.integrations.tracker_calls import TrackerIntegration

LOGGER, TASK = "clearml.logger", "clearml.task"
MONITOR = ":monitor:"
"""How the titles begin of what ClearML samples itself."""
DEFAULT_SECTION = "General"
KINDS = {
    "report_vector": "vectors", "report_histogram": "histograms", "report_table": "tables",
    "report_line_plot": "plots", "report_scatter2d": "plots", "report_scatter3d": "plots",
    "report_confusion_matrix": "matrices", "report_matrix": "matrices", "report_surface": "plots",
    "report_image": "images", "report_media": "media", "report_plotly": "figures",
    "report_matplotlib_figure": "figures",
}  # fmt: skip


class ClearmlIntegration(TrackerIntegration):
    """Records what a program gives to ClearML."""

    name, title = "clearml", "ClearML"

    def patches(self) -> Iterable[Patch]:
        """The methods of loggers and tasks."""
        yield Patch(LOGGER, "Logger.report_scalar", self.taking(self._scalar))
        yield Patch(LOGGER, "Logger.report_single_value", self.taking(self._single), optional=True)
        yield Patch(TASK, "Task.connect", self.taking(self._connect))
        yield Patch(TASK, "Task.set_parameters_as_dict", self.taking(self._parameters), optional=True)
        yield Patch(TASK, "Task.upload_artifact", self.taking(self._artifact), optional=True)
        yield from self.unrecorded(LOGGER, {f"Logger.{method}": kind for method, kind in KINDS.items()})

    def _prefix(self, task: Any) -> str:
        return self.prefix(task.id, lambda: str(task.name))

    def _scalar(self, logger: Any, title: str, series: str, value: Any, iteration: Any = None, *_: Any) -> None:
        if not str(title).startswith(MONITOR):
            name = title if title == series else f"{title}/{series}"
            self.values(self._prefix(logger._task), [(name, value)], as_step(iteration))

    def _single(self, logger: Any, name: str, value: Any, *_: Any) -> None:
        self.values(self._prefix(logger._task), [(name, value)], None)

    def _connect(self, task: Any, mutable: Any, name: Any = None, *_: Any, **__: Any) -> None:
        if type(mutable).__module__.startswith("clearml") or isinstance(mutable, type):
            return  # a model or a class of ClearML's own kinds
        section = "" if name in {None, DEFAULT_SECTION} else f"{name}/"
        self.params(f"{self._prefix(task)}{section}", mutable)

    def _parameters(self, task: Any, dictionary: Any, *_: Any, **__: Any) -> None:
        self.params(self._prefix(task), dictionary)

    def _artifact(self, task: Any, name: Any, artifact_object: Any = None, *_: Any, **__: Any) -> None:
        if isinstance(artifact_object, str):
            self.file(artifact_object, str(name))
        else:
            self._unrecorded.report("artifacts that are objects")
