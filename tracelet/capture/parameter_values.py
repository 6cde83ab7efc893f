"""One value of a parameter as a scalar that tells it from another value.

Used by `parameters` and by whoever records single settings, on the user's thread. Never calls a tensor's or an unknown
object's `repr`: that may be slow, wait for a GPU, or run user code.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import math
import os
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.capture.nested_values import class_of, mapping_of, sequence_of
from tracelet.capture.sanitize import storable_text
from tracelet.guard import attempt
from tracelet.journal.records import Scalar
from tracelet.redaction.masking import looks_secret, mask_arguments, mask_text

MAX_TEXT = 4000
"""Characters kept of one value; a configuration file pasted into a parameter fits, a data set does not."""
MAX_ITEMS = 100
"""Elements of a list that are written out."""
MAX_DEPTH = 12
"""Levels of nesting that become names; deeper ones are described. Ends self-containing mappings."""
MAX_INTEGER = 2**63 - 1
MASK = "***"
WITH_TEXT = (datetime.timedelta, fractions.Fraction, uuid.UUID, complex, range, slice)
"""Their texts are short, final, and what one would type."""


def unreadable(error: Exception) -> str:
    """What is recorded for a value whose own code raised."""
    return f"unreadable ({type(error).__name__})"


def is_hidden(value: Any) -> bool:
    """Whether the value's own class hides it, as pydantic's `SecretStr` does."""
    return hasattr(type(value), "get_secret_value")


def to_scalar(value: Any, depth: int = MAX_DEPTH) -> Scalar:
    """One value as a scalar: numbers and strings as they are, lists formatted, anything else described."""
    if value is None or isinstance(value, bool):
        return value
    if is_hidden(value):
        return MASK
    if isinstance(value, enum.Enum):
        return _member(value)
    if isinstance(value, int):
        if abs(value) <= MAX_INTEGER:
            return int(value)
        return str(int(value)) if value.bit_length() < MAX_TEXT else _truncate(hex(value))  # str() refuses the largest
    if isinstance(value, float):
        return float(value)
    if isinstance(value, (str, os.PathLike)):
        text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        return mask_text(_truncate(storable_text(text if isinstance(text, str) else os.fsdecode(text))))
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if depth and isinstance(value, (set, frozenset)):
        return _truncate(_format_items(value, depth))
    if depth and (items := sequence_of(value)) is not None:
        return _truncate(_format_items(items, depth))
    return _describe(value, depth)


def _member(value: enum.Enum) -> Scalar:
    """The value of a member where it is a plain one, else the member's name."""
    if isinstance(value.value, (str, bool, int, float)) or value.value is None:
        return to_scalar(value.value)
    return str(value.name)


def _decimal(value: decimal.Decimal) -> Scalar:
    """A number where no digit is lost."""
    number = float(value)
    exact = math.isfinite(number) and decimal.Decimal(repr(number)) == value
    return number if exact or value.is_nan() or value.is_infinite() else str(value)


def _format_items(values: Any, depth: int) -> str:
    shown = _bounded((_item(item, depth - 1) for item in _masked_flags(values)), len(values))
    if isinstance(values, (set, frozenset)):
        shown.sort()  # the strings, because elements may not be comparable
    return f"[{', '.join(shown)}]"


def _masked_flags(values: Any) -> Any:
    """A list of strings as a command line, where a flag tells that the next element is a secret."""
    if not isinstance(values, (list, tuple)) or not any(isinstance(item, str) and item[:1] == "-" for item in values):
        return values
    texts = mask_arguments([item if isinstance(item, str) else "" for item in values])
    return [text if isinstance(item, str) else item for item, text in zip(values, texts)]


def _bounded(texts: Iterable[str], total: int) -> list[str]:
    """The first texts; the others are not even made."""
    shown: list[str] = []
    length = 0
    for text in texts:
        if len(shown) == MAX_ITEMS or length > MAX_TEXT:
            return [*shown, f"... {total - len(shown)} more"]
        shown.append(text)
        length += len(text)
    return shown


def _item(value: Any, depth: int) -> str:
    return attempt(
        lambda: _format_scalar(to_scalar(value, depth)), lambda error: f"unreadable ({type(error).__name__})"
    )


def _format_scalar(value: Scalar) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return str(value)


def _describe(value: Any, depth: int) -> Scalar:
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, WITH_TEXT):
        return str(value)
    if isinstance(value, functools.partial):
        return _truncate(_call(value, depth))
    if _is_dtype(value) or (type(value).__module__ == "torch" and not hasattr(value, "shape")):
        return str(value)  # dtype, device, layout: short and final
    if getattr(value, "shape", None) is not None and hasattr(value, "dtype"):
        return _array(value, depth)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    found = mapping_of(value)
    if found is not None:
        return _truncate(_written_out(value, found, depth))
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _is_dtype(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "itemsize") and hasattr(value, "kind")


def _array(value: Any, depth: int) -> Scalar:
    """One number, a short vector in the memory of this process, or the shape: another device would have to be waited
    for.
    """
    shape, numpy = tuple(value.shape), type(value).__module__ == "numpy"
    if shape == () and (numpy or getattr(value, "is_cpu", False)):
        item = value.item()
        return str(value) if type(item) is type(value) else to_scalar(item)  # a long double is its own item
    near = numpy or (type(value).__module__ == "torch" and value.is_cpu and str(value.layout) == "torch.strided")
    if depth and near and len(shape) == 1 and shape[0] <= MAX_ITEMS:
        return _truncate(_format_items(value.tolist(), depth))
    return f"{type(value).__name__}({'x'.join(map(str, shape))}, {value.dtype})"


def _call(value: functools.partial[Any], depth: int) -> str:
    """`partial(torch.optim.adam.Adam, lr=0.1)`"""
    given = [_item(argument, depth - 1) for argument in (value.func, *value.args)]
    return f"partial({', '.join([*given, *_entries(value.keywords, depth, '=')])})"


def _written_out(value: Any, found: Mapping[Any, Any], depth: int) -> str:
    if not depth:
        return "{" + ", ".join(_bounded((f"{key}: ..." for key in found), len(found))) + "}"
    if class_of(value):
        return f"{type(value).__qualname__}({', '.join(_entries(found, depth, '='))})"
    return "{" + ", ".join(_entries(found, depth, ": ")) + "}"


def _entries(values: Mapping[Any, Any], depth: int, sign: str) -> list[str]:
    return _bounded((f"{name}{sign}{_entry(values, name, depth)}" for name in values), len(values))


def _entry(values: Mapping[Any, Any], name: Any, depth: int) -> str:
    if looks_secret(str(name)):
        return MASK
    return attempt(lambda: _item(values[name], depth - 1), unreadable)


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}... ({len(text)} characters)"
