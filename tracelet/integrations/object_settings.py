"""The settings of callbacks, plugins, strategies, profilers and schedulers: what their constructors were given.

Called by `hyperparameters` and `model_description` on the training thread, a few times for each fit. Reads attributes
that are kept under the name of a constructor's argument; calls nothing of the object's, and takes no state (the best
value so far, the number of bad epochs) for a setting.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

LISTS = ("callbacks", "plugins")
"""Arguments of a Trainer that are one object or a list of such."""
SINGLE = ("strategy", "accelerator", "profiler")
"""Arguments of a Trainer that are a name or an object."""
NO_SETTINGS = frozenset({"self", "optimizer", "last_epoch", "verbose", "args", "kwargs"})
_ABSENT: object = object()


def settings_of(instance: Any) -> dict[str, Any]:
    """Class and settings; an argument `min_lr` may be kept as `min_lr`, `_min_lr` or, one for each group, `min_lrs`."""
    held = vars(instance) if hasattr(instance, "__dict__") else {}
    found: dict[str, Any] = {"class": class_name(instance)}
    for name in _arguments(type(instance)):
        kept = next((held[known] for known in (name, f"_{name}", f"{name}s") if known in held), _ABSENT)
        if kept is not _ABSENT:
            # EarlyStopping turns the sign to compare with it
            found[name] = abs(kept) if name == "min_delta" and isinstance(kept, float) else kept
    return found


def class_name(instance: Any) -> str:
    """Module and name of an object's class."""
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def described_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a Trainer, with the settings of the objects among them."""
    described = dict(given)
    for name in LISTS:
        value = given.get(name)
        objects = list(value) if isinstance(value, (list, tuple, set)) else [value]
        objects = [one for one in objects if one is not None and not isinstance(one, str)]
        if objects:
            described[name] = _by_class(objects)
    for name in SINGLE:
        value = given.get(name)
        if value is not None and not isinstance(value, str):
            described[name] = settings_of(value)
    return described


def _by_class(objects: Iterable[Any]) -> dict[str, Any]:
    """The settings by class name, the second of a class with a number: positions shift when one is added."""
    found: dict[str, Any] = {}
    for one in objects:
        name = type(one).__name__
        number = sum(1 for known in found if known == name or known.startswith(f"{name}-"))
        found[name if not number else f"{name}-{number + 1}"] = settings_of(one)
    return found


def _arguments(kind: type) -> list[str]:
    """The names of the arguments of all constructors of a class, the base's first."""
    names: dict[str, None] = {}
    for base in reversed(kind.__mro__[:-1]):
        constructor = vars(base).get("__init__")
        if inspect.isfunction(constructor):
            names.update(dict.fromkeys(inspect.signature(constructor).parameters))
    return [name for name in names if name not in NO_SETTINGS]
