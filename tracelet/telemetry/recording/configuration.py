"""The program's declarations about its training, by which samples, tokens and floating-point operations are counted.

Set by `tracelet.telemetry.configure()` on the user's thread; everything has a sensible default.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from tracelet.errors import SettingsError

IntegerOrCall = Union[int, Callable[[], int], None]
TextOrCall = Union[str, list[str], Callable[[], Any], None]
WHOLE = frozenset({
    "global_batch_size", "micro_batch_size", "seq_length", "train_iterations_target", "train_samples_target",
    "log_every_n_train_iterations", "world_size",
})  # fmt: skip
"""Fields that count something."""
NUMBERS = WHOLE | {"flops_per_sample", "peak_flops"}
"""Fields that are calculated with."""
AT_LEAST_ONE = frozenset({"log_every_n_train_iterations", "world_size"})
BASE = ("application_name", "session_tag", "is_baseline_run", "world_size", "summary_data_schema_version")
"""What `one_logger_initialization` says at the start of the run."""


@dataclass(frozen=True)
class TelemetryConfig:
    """Facts about the training. A callable is called each time its value is needed."""

    global_batch_size: IntegerOrCall = None
    """Samples of one iteration over all ranks; without it they are counted as they come."""
    micro_batch_size: IntegerOrCall = None
    """Samples of one iteration on one rank; told on, not used."""
    seq_length: IntegerOrCall = None
    """Tokens of one sample: gives tokens and tokens per second. Without it those of Lightning's batches are counted
    where they are tables of token ids; 0 says that they are none.
    """
    flops_per_sample: IntegerOrCall = None
    """Floating-point operations of forward and backward for one sample: gives TFLOP/s, and MFU where the peak is
    known.
    """
    measure_flops: bool = False
    """Measure `flops_per_sample` once with PyTorch's FlopCounterMode, on the second training batch (under
    Lightning).
    """
    peak_flops: IntegerOrCall = None
    """Floating-point operations per second that one device could do at best, where it is not in our table."""
    train_iterations_target: IntegerOrCall = None
    train_samples_target: IntegerOrCall = None
    log_every_n_train_iterations: int | None = None
    """Iterations between two training_metrics_update events (default: the setting telemetry_interval)."""
    save_checkpoint_strategy: str = "sync"
    """`async` if checkpoint_save() merely starts a save and on_save_checkpoint_success() tells its end."""
    perf_tag: TextOrCall = None
    session_tag: TextOrCall = None
    world_size: IntegerOrCall = None
    is_baseline_run: bool | Callable[[], bool] = False
    is_log_throughput_enabled: bool | Callable[[], bool] | None = None
    is_train_iterations_enabled: bool | Callable[[], bool] = True
    is_validation_iterations_enabled: bool | Callable[[], bool] = True
    is_test_iterations_enabled: bool | Callable[[], bool] = True
    is_save_checkpoint_enabled: bool | Callable[[], bool] = True
    application_name: str | None = None
    summary_data_schema_version: str = "1.0.0"
    custom_metadata: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """The value of one field; calls it if it is a callable."""
        value = getattr(self, name)
        return value() if callable(value) else value

    def with_changes(self, changes: Mapping[str, Any]) -> TelemetryConfig:
        """A copy; names may end in `_or_fn`, as nv-one-logger's do. Unknown ones are a SettingsError."""
        known = {item.name for item in dataclasses.fields(self)}
        plain = {name.removesuffix("_or_fn"): value for name, value in changes.items()}
        unknown = sorted(plain.keys() - known)
        if unknown:
            raise SettingsError(f"{unknown[0]!r} is not an option of telemetry. Options: {', '.join(sorted(known))}.")
        for name, value in plain.items():
            why = "" if callable(value) else flaw(name, value)
            if why:
                raise SettingsError(f"{name!r} cannot be {value!r}: expected {why}, or a function that returns one.")
        return dataclasses.replace(self, **{**plain, "save_checkpoint_strategy": _strategy(plain, self)})


def flaw(name: str, value: Any) -> str:
    """What a value should have been; empty if it is fine. A wrong one would break what is calculated with it."""
    if value is None:
        return ""
    if name == "custom_metadata":
        return "" if isinstance(value, Mapping) else "a mapping"
    if name not in NUMBERS:
        return ""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:
        return "a whole number" if name in WHOLE else "a number"
    if name in WHOLE and not float(value).is_integer():
        return "a whole number"
    return "a number from 1" if name in AT_LEAST_ONE and value < 1 else ""


def _strategy(changes: Mapping[str, Any], before: TelemetryConfig) -> str:
    given = changes.get("save_checkpoint_strategy", before.save_checkpoint_strategy)
    word = str(getattr(given, "value", given)).lower()
    if word not in ("sync", "async"):
        raise SettingsError(f"save_checkpoint_strategy cannot be {given!r}: expected 'sync' or 'async'.")
    return word


_pending: dict[str, Any] = {}


def save_for_next_run(changes: Mapping[str, Any]) -> None:
    """Keep values set before a run is active. Unknown names are a SettingsError at once."""
    TelemetryConfig().with_changes(changes)
    _pending.update(changes)


def pop_saved() -> dict[str, Any]:
    """The values for the run that begins now; returned once."""
    kept = dict(_pending)
    _pending.clear()
    return kept
