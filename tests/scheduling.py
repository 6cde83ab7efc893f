"""Which tests run in one process when the suite runs side by side (`pytest -n 2`): those that share something costly.

Called by pytest-xdist, through the hook in `tests/conftest.py`. The tests of a file stay together, so that the fixtures
of a module are made once; folders and files that share a server or a browser stay together too. Whatever has the most
work comes first: contract, crash, e2e, unit, as their names happen to be sorted.
"""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {
    "tests/e2e/ui/": "one browser, one dashboard and one store of trained runs",
}
"""The beginning of a test's path, and what the tests there share."""


class SharedScheduling(LoadScopeScheduling):  # type: ignore[misc]  # it ships no type information
    """Hands files, or what belongs together, to whichever process has little left to do."""

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return next((shared for beginning, shared in TOGETHER.items() if path.startswith(beginning)), path)
