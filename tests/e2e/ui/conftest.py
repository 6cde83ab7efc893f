"""One store of real trainings, one dashboard over it and one browser for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

import tracelet
from tests.e2e.ui.browser import CHROMIUM, DRIVER, Page, browser, served
from tests.environments import lightning_python

TRAININGS = Path(__file__).with_name("trainings.py")


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For the processes: the store, pins of the test's own, and no agent."""
    root = tmp_path_factory.mktemp("dashboard")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TRACELET_")}
    return {
        **clean, "TRACELET_DIR": str(root / ".tracelet"), "TRACELET_DELIVERY": "off", "TRACELET_QUIET": "1",
        "XDG_CONFIG_HOME": str(root / "config"), "PYTHONPATH": str(Path(tracelet.__file__).parents[1]),
    }  # fmt: skip


@pytest.fixture(scope="session")
def store(environment: dict[str, str]) -> Path:
    """A store with a sweep of Lightning trainings, one that failed, and one with hostile texts."""
    root = Path(environment["TRACELET_DIR"])
    subprocess.run(
        [lightning_python(), "-W", "ignore", str(TRAININGS)], env=environment, cwd=root.parent, check=True, timeout=240,
        capture_output=True,
    )  # fmt: skip
    return root


@pytest.fixture(scope="session")
def ids(store: Path) -> dict[str, str]:
    """Ids of the runs by name."""
    return {run.info.name: run.id for run in tracelet.open_store(store).runs()}


@pytest.fixture(scope="session")
def address(store: Path, environment: dict[str, str]) -> Iterator[str]:
    """Where the dashboard is."""
    with served(store, environment) as found:
        yield found


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """The browser."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    with browser(tmp_path_factory.mktemp("chromium")) as made:
        yield made


@pytest.fixture
def page(driver: WebDriver, address: str) -> Page:
    """The dashboard in the browser; a module with a store of its own has its own `address`."""
    found = Page(driver, address)
    found.emulate("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    found.problems()  # those of other tests
    return found
