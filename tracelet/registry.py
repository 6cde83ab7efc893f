"""Names to plug-ins: one row per built-in, and the entry-point groups through which others join by the same door.

Loading is lazy: a row is text until somebody asks for it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from tracelet.errors import SettingsError

INTEGRATIONS: dict[str, str] = {
    "lightning": "tracelet.integrations.lightning:LightningIntegration",
}
"""Name to class; each is switched by the setting `track_NAME`."""

COLLECTORS: dict[str, str] = {
    "system": "tracelet.collectors.system:SystemCollector",
    "gpu": "tracelet.collectors.gpu:GpuCollector",
}
"""Periodic readers of the machine, all switched by `track_system`."""

FACT_COLLECTORS: dict[str, str] = {
    "git": "tracelet.collectors.git:GitCollector",
    "env": "tracelet.collectors.environment:EnvironmentCollector",
    "system": "tracelet.collectors.gpu:GpuFacts",
}
"""Read once at the start; each is switched by the setting `track_NAME`."""


def load(reference: str) -> Any:
    """The object that `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def plugins(group: str, built_in: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Every plug-in of a kind, loaded: the built-in ones, then those of the entry-point group `tracelet.GROUP`."""
    from importlib.metadata import entry_points  # a quarter of the time that `import tracelet` would take

    for name, reference in built_in.items():
        yield name, load(reference)
    for point in entry_points(group=f"tracelet.{group}"):
        if point.name in built_in:
            raise SettingsError(
                f"the package that provides {point.value!r} calls its {group} plug-in {point.name!r}, which is built in. "
                "Uninstall it, or have it renamed."
            )
        yield point.name, point.load()
