"""Where a run is to be delivered: what the user wrote as `backend=...` turned into names and options.

Used by `start_logging()` and `tracelet sync`. Options that hold credentials never leave this process's memory and the
agent's: `without_credentials` is what a journal may keep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.errors import SettingsError
from tracelet.masking import looks_secret, mask_url

Backends = dict[str, dict[str, Any]]


def parse(backend: object, tables: Mapping[str, Mapping[str, Any]]) -> Backends:
    """Names to options. `backend`: a name, names separated by commas, a list of names, or a mapping of name to options.

    `tables` holds options from the settings; options in `backend` itself win.
    """
    if backend is None or backend == "":
        return {}
    if isinstance(backend, str):
        asked: dict[str, dict[str, Any]] = {name.strip(): {} for name in backend.split(",") if name.strip()}
    elif isinstance(backend, Mapping):
        asked = {str(name): dict(options or {}) for name, options in backend.items()}
    elif isinstance(backend, Iterable):
        asked = {str(name).strip(): {} for name in backend}
    else:
        raise SettingsError(f"backend={backend!r}: give a name, a list of names, or a table of name to options")
    return {name.lower(): {**tables.get(name.lower(), {}), **options} for name, options in asked.items()}


def without_credentials(backends: Backends) -> Backends:
    """The same without options that look like secrets, and with credentials taken out of addresses."""
    return {
        name: {
            key: mask_url(value) if isinstance(value, str) else value
            for key, value in options.items()
            if not looks_secret(key)
        }
        for name, options in backends.items()
    }
