"""nv-one-logger's enumerations and values: names of spans and events, attributes, events. Plain data; any thread."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracelet.errors import InvalidArgument
from tracelet.telemetry import names


class _Text(str, enum.Enum):
    """A string that is one of a few; prints as its value, as nv-one-logger's do."""

    def __str__(self) -> str:
        return str(self.value)


class StandardSpanName(_Text):
    """The span of the whole program."""

    APPLICATION = names.APPLICATION


class StandardTrainingJobSpanName(_Text):
    """The spans of a training."""

    TRAINING_LOOP = names.TRAINING_LOOP
    VALIDATION_LOOP = names.VALIDATION_LOOP
    TESTING_LOOP = names.TESTING_LOOP
    DIST_INIT = names.DIST_INIT
    DATA_LOADER_INIT = names.DATA_LOADER_INIT
    MODEL_INIT = names.MODEL_INIT
    OPTIMIZER_INIT = names.OPTIMIZER_INIT
    CHECKPOINT_LOAD = names.CHECKPOINT_LOAD
    CHECKPOINT_SAVE_SYNC = names.CHECKPOINT_SAVE_SYNC
    CHECKPOINT_SAVE_ASYNC = names.CHECKPOINT_SAVE_ASYNC
    CHECKPOINT_SAVE_FINALIZATION = names.CHECKPOINT_SAVE_FINALIZATION
    TRAINING_SINGLE_ITERATION = names.TRAINING_ITERATION
    VALIDATION_SINGLE_ITERATION = names.VALIDATION_ITERATION
    TESTING_SINGLE_ITERATION = names.TESTING_ITERATION
    DATA_LOADING = names.DATA_LOADING
    MODEL_FORWARD = names.MODEL_FORWARD
    ZERO_GRAD = names.ZERO_GRAD
    MODEL_BACKWARD = names.MODEL_BACKWARD
    OPTIMIZER_UPDATE = names.OPTIMIZER_UPDATE


class StandardTrainingJobEventName(_Text):
    """The events of a training."""

    ONE_LOGGER_INITIALIZATION = names.INITIALIZATION_EVENT
    UPDATE_TRAINING_TELEMETRY_CONFIG = names.CONFIG_EVENT
    TRAINING_METRICS_UPDATE = names.TRAINING_METRICS
    VALIDATION_METRICS_UPDATE = names.VALIDATION_METRICS
    TESTING_METRICS_UPDATE = names.TESTING_METRICS
    SAVE_CHECKPOINT_SUCCESS = names.SAVE_SUCCESS
    SYNC_CHECKPOINT_METRICS_UPDATE = names.SAVE_METRICS


class CheckPointStrategy(_Text):
    """Whether the training waits for a checkpoint."""

    SYNC = "sync"
    ASYNC = "async"


class ExportCustomizationMode(_Text):
    """Which spans an exporter gets."""

    EXPORT_ALL_SPANS = "export_all_spans"
    WHITELIST_SPANS = "whitelist_spans"
    BLACKLIST_SPANS = "blacklist_spans"


DEFAULT_SPANS_EXPORT_BLACKLIST = (
    StandardTrainingJobSpanName.TRAINING_SINGLE_ITERATION, StandardTrainingJobSpanName.VALIDATION_SINGLE_ITERATION,
    StandardTrainingJobSpanName.TESTING_SINGLE_ITERATION, StandardTrainingJobSpanName.DATA_LOADING,
    StandardTrainingJobSpanName.MODEL_FORWARD, StandardTrainingJobSpanName.ZERO_GRAD,
    StandardTrainingJobSpanName.MODEL_BACKWARD, StandardTrainingJobSpanName.OPTIMIZER_UPDATE,
)  # fmt: skip
"""What nv-one-logger does not export unless told otherwise."""


@dataclass(frozen=True)
class Attribute:
    """A name and a value."""

    name: str
    value: Any


class Attributes(dict[str, Attribute]):
    """Attributes by name."""

    def __init__(self, dictionary: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        for name, value in (dictionary or {}).items():
            self.add(name, value)

    def add(self, name: str, value: Any) -> Attributes:
        """Set one; returns these attributes."""
        self[str(name)] = Attribute(str(name), value)
        return self

    def add_attribute(self, attribute: Attribute) -> Attributes:
        """Set one; returns these attributes."""
        return self.add(attribute.name, attribute.value)

    def add_attributes(self, attributes: Mapping[str, Attribute]) -> Attributes:
        """Set several; returns these attributes."""
        for attribute in attributes.values():
            self.add_attribute(attribute)
        return self

    def to_json(self) -> dict[str, Any]:
        """Values by name."""
        return {name: attribute.value for name, attribute in self.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attributes:
        """The attributes with these values by name."""
        return cls(data)

    @classmethod
    def merge(cls, first: Mapping[str, Attribute], second: Mapping[str, Attribute]) -> Attributes:
        """Both; the second ones win."""
        return cls().add_attributes(first).add_attributes(second)

    def _typed(self, name: str, *kinds: type) -> Any:
        if name not in self:
            return None
        value = self[name].value
        if type(value) not in kinds:
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise InvalidArgument(f"attribute {name!r} is {value!r}, not of type {expected}")
        return value

    def get_bool_value(self, name: str) -> bool | None:
        """The value; None without one. Raises for another type."""
        found: bool | None = self._typed(name, bool)
        return found

    def get_int_value(self, name: str) -> int | None:
        """The value; None without one. Raises for another type."""
        found: int | None = self._typed(name, int)
        return found

    def get_float_value(self, name: str) -> float | None:
        """The value; None without one. Raises for another type."""
        value = self._typed(name, float, int)
        return None if value is None else float(value)

    def get_str_value(self, name: str) -> str | None:
        """The value; None without one. Raises for another type."""
        found: str | None = self._typed(name, str)
        return found


@dataclass(frozen=True)
class TracingTimestamp:
    """A moment, in seconds since the epoch."""

    seconds_since_epoch: float

    @classmethod
    def for_timestamp(cls, timestamp_sec: float, *_: Any, **__: Any) -> TracingTimestamp:
        """The moment of this time."""
        return cls(float(timestamp_sec))

    @property
    def milliseconds_since_epoch(self) -> int:
        """The same in milliseconds."""
        return int(self.seconds_since_epoch * 1000)


@dataclass(frozen=True)
class Event:
    """Something that happened within a span."""

    name: str
    attributes: Attributes = field(default_factory=Attributes)
    timestamp: TracingTimestamp | None = None

    @classmethod
    def create(
        cls, name: Any, attributes: Attributes | None = None, timestamp: TracingTimestamp | None = None
    ) -> Event:
        """An event of this name; now, unless a time is given."""
        return cls(str(getattr(name, "value", name)), attributes or Attributes(), timestamp)

    @property
    def name_str(self) -> str:
        """The name."""
        return self.name


def plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Values by name of attributes that may be nv-one-logger's."""
    return {str(name): getattr(value, "value", value) for name, value in (attributes or {}).items()}
