"""Data that a program itself writes to TensorBoard, through the `SummaryWriter` of PyTorch or of tensorboardX.

Called on the user's threads around the writers' methods. It records scalars, hyperparameters and texts as given, in
full precision, with their steps and wall times; it reports images, histograms and other kinds as not recorded. Values
that another integration has recorded (Lightning's TensorBoardLogger, a tracker of accelerate) are not recorded again.
Writes no event file, and never imports a writer.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tracelet.capture.parameter_values import to_scalar
from tracelet.capture.parameters import flatten
from tracelet.guard import guard
from tracelet.integrations.base import Integration, Sink
from tracelet.integrations.metric_values import as_metric, as_step
from tracelet.integrations.nested_calls import in_recorded_call, recorded_call
from tracelet.integrations.patching import Function, Patch
from tracelet.integrations.run_prefixes import RunPrefixes
from tracelet.integrations.unrecorded import Unrecorded
from tracelet.journal.records import Event, Params

WRITERS = ("torch.utils.tensorboard.writer", "tensorboardX.writer")
"""The modules that have a class `SummaryWriter`."""
MEDIA = {
    "add_image": "images", "add_images": "images", "add_image_with_boxes": "images", "add_figure": "figures",
    "add_histogram": "histograms", "add_histogram_raw": "histograms", "add_audio": "audio", "add_video": "videos",
    "add_pr_curve": "precision-recall curves", "add_pr_curve_raw": "precision-recall curves", "add_mesh": "meshes",
    "add_embedding": "embeddings", "add_graph": "model graphs", "add_onnx_graph": "model graphs",
    "add_tensor": "tensors",
}  # fmt: skip
"""Method to the kind of data that it writes."""


class TensorboardIntegration(Integration):
    """Records the arguments of `SummaryWriter`s."""

    name = "tensorboard"

    def __init__(self, sink: Sink, settings: Mapping[str, object]) -> None:
        super().__init__(sink, settings)
        self._emit = sink.emit
        self._prefixes = RunPrefixes(sink, "TensorBoard folder")
        self._unrecorded = Unrecorded(sink, "TensorBoard")
        self._writers: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        """The prefix of each writer's names."""
        self._trials: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        """How many sets of hyperparameters each writer has received."""

    def patches(self) -> Iterable[Patch]:
        """The methods of both writers."""
        wrappers: dict[str, Callable[[Function], Function]] = {
            "add_scalar": self._taking(self._scalar),
            "add_scalars": self._taking(self._scalars),
            "add_hparams": self._taking(self._hparams),
            "add_text": self._taking(self._text),
            **{method: self._taking(self._media(kind)) for method, kind in MEDIA.items()},
        }
        for module in WRITERS:
            for method, wrapper in wrappers.items():
                yield Patch(module, f"SummaryWriter.{method}", wrapper, optional=method in MEDIA)

    def stop(self) -> None:
        """Restore the methods."""
        super().stop()
        self._unrecorded.close()

    def _taking(self, take: Callable[..., None]) -> Callable[[Function], Function]:
        """A wrapper that passes the arguments of a call to `take` unless they are recorded already."""

        def around(original: Function) -> Function:
            def method(writer: Any, *args: Any, **kwargs: Any) -> Any:
                if in_recorded_call() or self._unrecorded.in_forked_child():
                    return original(writer, *args, **kwargs)
                with guard("recording what TensorBoard is given"):
                    take(writer, *args, **kwargs)
                with recorded_call:  # add_hparams creates another writer for the metrics
                    return original(writer, *args, **kwargs)

            return method

        return around

    def _prefix(self, writer: Any) -> str:
        prefix = self._writers.get(writer)
        if prefix is None:
            folder = str(getattr(writer, "log_dir", None) or writer.logdir)  # PyTorch's name, tensorboardX's name
            label = os.path.basename(os.path.normpath(folder))
            prefix = self._writers[writer] = self._prefixes.prefix(os.path.abspath(folder), label)
        return prefix

    def _point(self, name: str, value: Any, step: Any, walltime: Any) -> None:
        metric = as_metric(value)
        if metric is not None:
            self._emit((name, as_step(step), metric, time.time() if walltime is None else float(walltime)))

    def _scalar(
        self,
        writer: Any,
        tag: str,
        scalar_value: Any,
        global_step: Any = None,
        walltime: Any = None,
        *_: Any,
        **__: Any,
    ) -> None:
        self._point(f"{self._prefix(writer)}{tag}", scalar_value, global_step, walltime)

    def _scalars(
        self, writer: Any, main_tag: str, tag_scalar_dict: Mapping[str, Any], global_step: Any = None,
        walltime: Any = None, *_: Any, **__: Any,
    ) -> None:  # fmt: skip
        prefix = self._prefix(writer)
        for tag, value in tag_scalar_dict.items():
            self._point(f"{prefix}{main_tag}/{tag}", value, global_step, walltime)

    def _hparams(
        self, writer: Any, hparam_dict: Mapping[str, Any], metric_dict: Mapping[str, Any], *rest: Any,
        global_step: Any = None, **_: Any,
    ) -> None:  # fmt: skip
        # The two writers keep it in different places, in strings and dictionaries.
        step = next((value for value in rest if isinstance(value, int)), global_step)
        prefix = self._prefix(writer)
        trial = self._trials[writer] = self._trials.get(writer, 0) + 1
        if trial > 1:
            prefix = f"{prefix}hparams-{trial}/"
        values = {f"{prefix}{name}": value for name, value in flatten(hparam_dict).items()}
        self._emit(Params(time=time.time_ns() // 1000, values=values, source=self.name))
        for name, value in metric_dict.items():
            self._point(f"{prefix}{name}", value, step, None)

    def _text(
        self, writer: Any, tag: str, text_string: Any, global_step: Any = None, walltime: Any = None, *_: Any, **__: Any
    ) -> None:
        moment = time.time_ns() // 1000 if walltime is None else int(float(walltime) * 1e6)
        attributes = {
            "tag": f"{self._prefix(writer)}{tag}",
            "step": as_step(global_step),
            "text": to_scalar(text_string),
        }
        self._emit(Event(time=moment, name="text", attributes=attributes))

    def _media(self, kind: str) -> Callable[..., None]:
        def take(*_: Any, **__: Any) -> None:
            self._unrecorded.report(kind)

        return take
