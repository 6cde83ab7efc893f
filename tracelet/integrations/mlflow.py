"""MLflow: data that a program logs to its runs, through the fluent functions, a client, or autologging.

Called on the user's threads around the methods of `MlflowClient`, where all of these end: with the run's id, the step
(0 if none is given, as MLflow stores it) and the timestamp.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from tracelet.capture.tags import checked_tags
from tracelet.integrations.metric_values import as_step
from tracelet.integrations.patching import Patch
from tracelet.integrations.tracker_calls import TrackerIntegration
from tracelet.journal.records import Tags

CLIENT = "mlflow.tracking.client"
INTERNAL = "mlflow."
"""The prefix of the tags that MLflow reserves."""
SHORT_ID = 8
"""Characters of a run's id that identify it if its name is unknown."""


class MlflowIntegration(TrackerIntegration):
    """Records what a program logs to MLflow."""

    name, title = "mlflow", "MLflow"

    def patches(self) -> Iterable[Patch]:
        """The client's methods."""
        yield Patch(CLIENT, "MlflowClient.log_metric", self.taking(self._metric))
        yield Patch(CLIENT, "MlflowClient.log_param", self.taking(self._param))
        yield Patch(CLIENT, "MlflowClient.set_tag", self.taking(self._tag))
        yield Patch(CLIENT, "MlflowClient.log_batch", self.taking(self._batch))
        yield Patch(CLIENT, "MlflowClient.log_artifact", self.taking(self._artifact))
        yield Patch(CLIENT, "MlflowClient.log_artifacts", self.taking(self._artifact))
        yield from self.unrecorded(CLIENT, {
            "MlflowClient.log_text": "texts", "MlflowClient.log_dict": "dictionaries",
            "MlflowClient.log_table": "tables", "MlflowClient.log_figure": "figures",
            "MlflowClient.log_image": "images", "MlflowClient.log_inputs": "data sets",
        })  # fmt: skip

    def _prefix(self, run_id: str) -> str:
        return self.prefix(run_id, lambda: _name_of(run_id))

    def _metric(
        self,
        client: Any,
        run_id: str,
        key: str,
        value: Any,
        timestamp: Any = None,
        step: Any = None,
        *_: Any,
        **__: Any,
    ) -> None:
        self._point(run_id, key, value, timestamp, step)

    def _point(self, run_id: str, key: str, value: Any, timestamp: Any, step: Any) -> None:
        seconds = time.time() if timestamp is None else float(timestamp) / 1000
        self.values(self._prefix(run_id), [(key, value)], as_step(step) or 0, seconds)

    def _param(self, client: Any, run_id: str, key: str, value: Any, *_: Any, **__: Any) -> None:
        self.params(self._prefix(run_id), {key: value})

    def _tag(self, client: Any, run_id: str, key: str, value: Any, *_: Any, **__: Any) -> None:
        if not key.startswith(INTERNAL):
            values = checked_tags({f"{self._prefix(run_id)}{key}": value})
            self.sink.emit(Tags(time=time.time_ns() // 1000, values=values))

    def _batch(
        self, client: Any, run_id: str, metrics: Any = (), params: Any = (), tags: Any = (), *_: Any, **__: Any
    ) -> None:
        for metric in metrics:
            self._point(run_id, metric.key, metric.value, metric.timestamp, metric.step)
        if params:
            self.params(self._prefix(run_id), {param.key: param.value for param in params})
        for tag in tags:
            self._tag(client, run_id, tag.key, tag.value)

    def _artifact(
        self, client: Any, run_id: str, local_path: Any = None, *_: Any, local_dir: Any = None, **__: Any
    ) -> None:
        path = local_path if local_path is not None else local_dir
        if path is not None:
            self.file(path)


def _name_of(run_id: str) -> str:
    """The run's name if the fluent functions write to it: asking a server for the others would cost the
    program time.
    """
    fluent: Any = sys.modules.get("mlflow.tracking.fluent")
    run: Any = fluent.active_run() if fluent is not None else None
    named = run is not None and run.info.run_id == run_id and run.info.run_name
    return str(run.info.run_name) if named else run_id[:SHORT_ID]
