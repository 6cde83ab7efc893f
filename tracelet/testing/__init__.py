"""Checks for authors of plug-ins: what every backend and every importer must do. They need no test framework.

Used by the tests of this project and of packages that provide a plug-in.
"""

from tracelet.testing.backend_conformance import (
    FINISHED,
    START,
    BackendConformance,
    CollectingBackend,
    Delivered,
    Traits,
)
from tracelet.testing.importer_conformance import ImporterConformance

__all__ = [
    "FINISHED", "START", "BackendConformance", "CollectingBackend", "Delivered", "ImporterConformance", "Traits",
]  # fmt: skip
