"""A headless Chromium and a dashboard, each in processes of their own, for the tests of this folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.webdriver.chrome.remote_connection import ChromeRemoteConnection
from selenium.webdriver.remote.webdriver import WebDriver

Found = TypeVar("Found")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,950",
)  # fmt: skip
PATIENCE = 30.0
"""Seconds: two busy cores may take long, and nothing is said about speed here."""


def wait(ask: Callable[[], Found], patience: float = PATIENCE) -> Found:
    """Ask until the answer is true, and return it; fails when patience ends."""
    deadline = time.monotonic() + patience
    while not (found := ask()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def served(store: Path, environment: Mapping[str, str], *options: str) -> Iterator[str]:
    """`tracelet ui` over a store; gives its address, with the token if it has one."""
    without = () if "--token" in options else ("--no-token",)
    command = [sys.executable, "-m", "tracelet", "ui", "--port", "0", "--dir", str(store), *without, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(environment), cwd=store.parent)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield re.findall(r"http://\S+", line)[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[WebDriver]:
    """Chromium. Its processes are no children of ours: the tests look for children that are left behind."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = subprocess.run(
        ["sh", "-c", f'"{DRIVER}" --port={port} >/dev/null 2>&1 & echo $!'], capture_output=True, text=True, check=True
    )
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    try:
        wait(lambda: _answers(port))
        driver = webdriver.Remote(ChromeRemoteConnection(f"http://127.0.0.1:{port}"), options=options)
        yield driver
        driver.quit()
    finally:
        os.kill(int(started.stdout), signal.SIGTERM)


def left_in_peace(driver: WebDriver) -> None:
    """Leave the page before its server goes, so that the next test does not hear the browser complain of that."""
    driver.get("about:blank")
    Page(driver, "").problems()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5):
            return True
    except OSError:
        return False


class Page:
    """What tests do with the browser."""

    def __init__(self, driver: WebDriver, address: str) -> None:
        self.driver = driver
        self.address = address.rstrip("/")

    def open(self, path: str) -> None:
        """Open a page and wait until it has drawn itself."""
        self.driver.get(self.address + path)
        self.until("document.querySelector('.tl-view[data-ready], .tl-view .tl-empty')")

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript in the page and give what it returns."""
        return self.driver.execute_script(script, *arguments)

    def until(self, expression: str, patience: float = PATIENCE) -> Any:
        """Wait until an expression is true in the page, and give it."""
        return wait(lambda: self.run(f"return {expression}"), patience)

    def text(self, selector: str = ".tl-view") -> str:
        """What a person reads there."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def press(self, key: str) -> None:
        """Press a key."""
        self.run("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: arguments[0], bubbles: true}))", key)

    def click(self, title: str, within: str = "body") -> None:
        """Click the button with this title."""
        self.run(
            "[...document.querySelector(arguments[1]).querySelectorAll('button, summary')]"
            ".find((button) => button.innerText.trim() === arguments[0]).click()", title, within
        )  # fmt: skip

    def emulate(self, what: str, **parameters: Any) -> None:
        """Pretend to be another device: a command of Chromium's `Emulation`."""
        self.driver.execute("executeCdpCommand", {"cmd": f"Emulation.{what}", "params": parameters})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """What the browser wrote down since the last time: `browser` or `performance`."""
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": kind})["value"]
        return entries

    def problems(self) -> list[str]:
        """What the browser complained about."""
        return [entry["message"] for entry in self.log("browser") if entry["level"] == "SEVERE"]
