"""Creates a backend from its import reference and the user's options. Used by couriers, in the agent's process."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pkgutil import resolve_name
from typing import Any

import msgspec

from tracelet.backends.base import Backend
from tracelet.errors import Misconfigured


def make(name: str, reference: str, options: Mapping[str, Any]) -> Backend:
    """The backend named `name`. Misconfigured if it cannot be imported or the options are invalid."""
    try:
        kind = resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise Misconfigured(
            f"backend {name!r} cannot be loaded from {reference!r} ({error})",
            "Install its package in the Python that runs the training",
        ) from None
    # The reference may come from the record of somebody else's run: call nothing but a backend class.
    declared: Any = getattr(kind, "options", None)
    if not (isinstance(kind, type) and isinstance(declared, type) and dataclasses.is_dataclass(declared)):
        raise Misconfigured(
            f"{reference!r} of the backend {name!r} is not a backend class",
            "Name a class whose `options` is a dataclass; see the guide 'Write a backend'",
        )
    backend: Backend = kind(options_of(name, declared, options))
    return backend


def check_names(name: str, kind: Any, options: Iterable[str]) -> None:
    """Misconfigured for an unknown option. The start of a run calls it too, for built-in backends."""
    known = [entry.name for entry in dataclasses.fields(kind)]
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else "Known options: " + ", ".join(known)
            raise Misconfigured(f"{key!r} is not an option of backend {name!r}", hint)


def options_of(name: str, kind: type, options: Mapping[str, Any]) -> Any:
    """The options as the dataclass of the backend. Misconfigured for one that it does not have, or cannot be."""
    check_names(name, kind, options)
    try:
        return msgspec.convert(dict(options), kind, strict=False, dec_hook=_made)
    except (msgspec.ValidationError, ValueError) as error:
        raise Misconfigured(f"backend {name!r} has an invalid option: {error}", "Fix it") from None


def _made(kind: type, value: Any) -> Any:
    return kind(value)
