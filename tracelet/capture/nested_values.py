"""What holds names or elements, by how it behaves: mappings, namespaces, and objects with fields of any library.

Used for parameters and for metrics, on the user's thread. Calls no conversion of the object's own (`model_dump`,
`to_dict`), which may run the user's code: fields are read where they are kept. Imports no library.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracelet.capture.omegaconf_values import is_config, plain_value

MAX_FOREIGN = 100
"""Elements of a sequence of an unknown class that are read: a data set is a sequence, too, and reads files."""
BUILT_IN_SEQUENCES = ("builtins", "collections", "array")


class _Items(Mapping[Any, Any]):
    """A view of an object that has `keys()` and subscripts but is no Mapping, such as `ml_collections.ConfigDict`."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self._keys = list(values.keys())

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class _Fields(Mapping[str, Any]):
    """A view of the attributes of an object; each is read when it is asked for."""

    def __init__(self, value: Any, names: Sequence[str]) -> None:
        self._value = value
        self._names = names

    def __getitem__(self, name: str) -> Any:
        return getattr(self._value, name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
    """The names that the value holds; None if it holds none."""
    kind = type(value)
    if kind is dict:
        return value  # type: ignore[no-any-return]
    if isinstance(value, (type, str, bytes, types.ModuleType, enum.Enum)) or hasattr(kind, "shape"):
        return None
    if is_config(value):
        plain = plain_value(value)
        return plain if isinstance(plain, dict) else None
    if isinstance(value, Mapping):
        return value
    if isinstance(value, (argparse.Namespace, types.SimpleNamespace)):
        return vars(value)
    names = _field_names(value)
    if names is not None:
        return _Fields(value, names)
    if hasattr(kind, "keys") and hasattr(kind, "__getitem__") and not hasattr(kind, "forward"):
        return _Items(value)
    return _attributes(value)


def class_of(value: Any) -> str | None:
    """The class of an object with fields; None for mappings and namespaces, whose class says nothing."""
    kind = type(value)
    if isinstance(value, (Mapping, argparse.Namespace, types.SimpleNamespace)) or hasattr(kind, "keys"):
        return None
    return f"{kind.__module__}.{kind.__qualname__}"


def sequence_of(value: Any) -> Sequence[Any] | None:
    """The elements of a list, tuple, deque or the like; None for other values, and for long ones of unknown classes."""
    if isinstance(value, (list, tuple)):
        return value
    if is_config(value):
        plain = plain_value(value)
        return plain if isinstance(plain, list) else None
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray, memoryview, range)):
        return None
    known = type(value).__module__ in BUILT_IN_SEQUENCES
    return value if known or len(value) <= MAX_FOREIGN else None


def _field_names(value: Any) -> Sequence[str] | None:
    """The fields that the class declares: dataclasses, attrs, pydantic, msgspec, named tuples."""
    kind = type(value)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    if hasattr(kind, "model_dump") or hasattr(kind, "__pydantic_model__") or hasattr(kind, "__fields_set__"):
        return [*_public(vars(value)), *(getattr(value, "__pydantic_extra__", None) or ())]
    if hasattr(kind, "__struct_fields__"):
        return list(kind.__struct_fields__)
    return list(kind._fields) if isinstance(value, tuple) and hasattr(kind, "_fields") else None


def _attributes(value: Any) -> Mapping[str, Any] | None:
    """The attributes of an object that is nothing but a holder of them: it has no methods, or a `to_dict()`."""
    kind = type(value)
    if not hasattr(value, "__dict__") or callable(value) or isinstance(value, BaseException):
        return None
    named = {
        name: held for base in reversed(kind.__mro__[:-1]) for name, held in vars(base).items()
        if not name.startswith("_") and not isinstance(held, property)
    }  # fmt: skip
    methods = [name for name, held in named.items() if _is_method(held)]
    if methods and "to_dict" not in methods:
        return None
    held = {**{name: constant for name, constant in named.items() if name not in methods}, **vars(value)}
    return _Fields(value, _public(held)) if held else None


def _is_method(held: Any) -> bool:
    return callable(held) or isinstance(held, (classmethod, staticmethod)) or hasattr(type(held), "__get__")


def _public(names: Mapping[Any, Any]) -> list[str]:
    return [name for name in names if isinstance(name, str) and not name.startswith("_")]
