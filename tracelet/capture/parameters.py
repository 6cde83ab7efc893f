"""Hyperparameters as they are recorded: flat names, plain values, no secrets.

Used by `Experiment.log_params` and the integrations, on the user's thread. Never calls a tensor's or an unknown
object's `repr`: that may be slow, wait for a GPU, or run user code.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import math
import os
import types
from collections.abc import Mapping
from typing import Any

from tracelet.capture.sanitize import storable_text
from tracelet.errors import InvalidArgument
from tracelet.journal.records import Scalar
from tracelet.redaction.masking import looks_secret, mask_arguments, mask_text

MAX_TEXT = 4000
"""Characters kept of one value; a configuration file pasted into a parameter fits, a data set does not."""
MAX_ITEMS = 100
"""Elements of a list that are written out."""
MAX_DEPTH = 12
"""Levels of nesting that become names; deeper ones are described. Ends self-containing mappings."""
MAX_FLATTENED_LIST = 50
"""Elements of a list of mappings that become names of their own; optimizers and transforms are fewer."""
MAX_NAMES = 10_000
"""Names beyond which lists of mappings are only written out: shared and self-containing ones never end."""
MASK = "***"
MAX_INTEGER = 2**63 - 1


def flatten(values: Any) -> dict[str, Scalar]:
    """Nested mappings, namespaces and dataclasses as one level of names joined by `/`; secrets are masked.

    A short list that holds any of these is nested too, its places being names: `optimizers/0/lr`.
    """
    found: dict[str, Scalar] = {}
    _flatten("", _as_mapping(values) or {}, found, MAX_DEPTH)
    return found


def checked_params(values: Any) -> dict[str, Scalar]:
    """What a program gave as parameters, flat; `InvalidArgument` for what has no names."""
    if _as_mapping(values) is None:
        raise InvalidArgument(
            f"parameters are a {type(values).__name__}, which has no names; nothing was recorded. Give a "
            "mapping, a namespace or a dataclass, e.g. log_params({'lr': 0.1})"
        )
    return flatten(values)


def _as_mapping(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (argparse.Namespace, types.SimpleNamespace)):
        return vars(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return None


def _as_indexed(value: Any, found: dict[str, Scalar]) -> dict[int, Any]:
    """A list that holds mappings as one from place to element; empty for any other value."""
    if not isinstance(value, (list, tuple)) or len(value) > MAX_FLATTENED_LIST or len(found) > MAX_NAMES:
        return {}
    return dict(enumerate(value)) if any(_as_mapping(item) for item in value) else {}


def _flatten(prefix: str, values: Mapping[Any, Any], found: dict[str, Scalar], depth: int) -> None:
    for key, value in values.items():
        name = storable_text(f"{prefix}{key}")
        if looks_secret(str(key)) and value is not None and not (isinstance(value, str) and not value):
            found[name] = MASK
        elif depth and (nested := _as_mapping(value) or _as_indexed(value, found)):
            _flatten(f"{name}/", nested, found, depth - 1)
        else:
            found[name] = to_scalar(value)


def to_scalar(value: Any, depth: int = MAX_DEPTH) -> Scalar:
    """One value as a scalar: numbers and strings unchanged, lists formatted, anything else described by its type."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return to_scalar(value.value)
    if isinstance(value, int):
        if abs(value) <= MAX_INTEGER:
            return int(value)
        return str(int(value)) if value.bit_length() < MAX_TEXT else _truncate(hex(value))  # str() refuses the largest
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        return mask_text(_truncate(storable_text(text if isinstance(text, str) else os.fsdecode(text))))
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return _truncate(_format_items(value, depth))
    return _describe(value)


def _format_items(values: Any, depth: int) -> str:
    shown: list[str] = []
    length = 0
    for item in _masked_flags(values):
        if len(shown) == MAX_ITEMS or length > MAX_TEXT:
            shown.append(f"... {len(values) - len(shown)} more")
            break
        shown.append(_format_scalar(to_scalar(item, depth - 1)))
        length += len(shown[-1])
    if isinstance(values, (set, frozenset)):
        shown.sort()  # the strings, because elements may not be comparable
    return "[" + ", ".join(shown) + "]"


def _masked_flags(values: Any) -> Any:
    """A list of strings as a command line, where a flag tells that the next element is a secret."""
    if not isinstance(values, (list, tuple)) or not any(isinstance(item, str) and item[:1] == "-" for item in values):
        return values
    texts = mask_arguments([item if isinstance(item, str) else "" for item in values])
    return [text if isinstance(item, str) else item for item, text in zip(values, texts)]


def _format_scalar(value: Scalar) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)


def _describe(value: Any) -> Scalar:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        item = value.item()
        return str(value) if type(item) is type(value) else to_scalar(item)  # a long double is its own item
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "dtype"):
        if tuple(shape) == () and getattr(value, "is_cpu", False):  # reading another device would wait for it
            return to_scalar(value.item())
        return f"{type(value).__name__}({'x'.join(map(str, tuple(shape)))}, {value.dtype})"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    if type(value).__module__ == "torch":  # dtype, device, layout: their texts are short and final
        return str(value)
    if isinstance(value, Mapping):
        return _truncate("{" + ", ".join(f"{key}: ..." for key in list(value)[:MAX_ITEMS]) + "}")
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"
