"""Hyperparameters as they are recorded: flat names, plain values, no secrets.

Used by `Experiment.log_params` and the integrations, on the user's thread. An entry that cannot be read costs no
other.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from functools import partial
from typing import Any

from tracelet.capture.nested_values import class_of, mapping_of, sequence_of
from tracelet.capture.parameter_values import MASK, MAX_DEPTH, to_scalar, unreadable
from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidArgument
from tracelet.guard import attempt
from tracelet.journal.records import Scalar
from tracelet.redaction.masking import looks_secret

MAX_FLATTENED_LIST = 50
"""Elements of a list of mappings that become names of their own; optimizers and transforms are fewer."""
MAX_NAMES = 10_000
"""Names beyond which nested values are only described: shared and self-containing ones never end."""


def flatten(values: Any) -> dict[str, Scalar]:
    """Nested configurations as one level of names joined by `/`; secrets are masked.

    A short list that holds mappings is nested too, its indices being names: `optimizers/0/lr`. A nested dataclass, or
    another object with fields, adds the name of its class: `optimizer/class`.
    """
    found: dict[str, Scalar] = {}
    _flatten("", _names(values) or {}, found, MAX_DEPTH)
    return found


def checked_params(values: Any) -> dict[str, Scalar]:
    """What a program gave as parameters, flat; `InvalidArgument` for what has no names."""
    if _names(values) is None:
        raise InvalidArgument(
            f"parameters are a {type(values).__name__}, which has no names; nothing was recorded. Give a "
            "mapping, a namespace or a dataclass, e.g. log_params({'lr': 0.1})"
        )
    return flatten(values)


def _names(values: Any) -> Mapping[Any, Any] | None:
    found: Mapping[Any, Any] | None = attempt(lambda: mapping_of(values), lambda _: None)
    return found


def _flatten(prefix: str, values: Mapping[Any, Any], found: dict[str, Scalar], depth: int) -> None:
    for key in list(values):
        name = storable_text(f"{prefix}{_text(key)}")
        reason = attempt(partial(_add, name, values, key, found, depth), unreadable)
        if reason is not None:
            found[name] = reason


def _add(name: str, values: Mapping[Any, Any], key: Any, found: dict[str, Scalar], depth: int) -> str | None:
    value = values[key]
    if looks_secret(_text(key)) and value is not None and not (isinstance(value, str) and not value):
        found[name] = MASK
    elif depth and len(found) <= MAX_NAMES and (nested := _nested(value)):
        _flatten(f"{name}/", nested, found, depth - 1)
    else:
        found[name] = to_scalar(value, depth if depth > 1 and len(found) <= MAX_NAMES else 1)
    return None


def _nested(value: Any) -> Mapping[Any, Any] | None:
    """A value that holds names as a mapping with its class, a short list of such from index to element."""
    found = mapping_of(value)
    if found is not None:
        kind = class_of(value)
        return {"class": kind, **{key: found[key] for key in found}} if found and kind else found
    items = sequence_of(value)
    if items is None or len(items) > MAX_FLATTENED_LIST:
        return None
    return dict(enumerate(items)) if any(mapping_of(item) for item in items) else None


def _text(key: Any) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    return key.name if isinstance(key, enum.Enum) else attempt(lambda: str(key), lambda _: type(key).__name__)
