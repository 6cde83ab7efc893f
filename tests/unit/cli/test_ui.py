"""`tracelet ui`: what it says when it serves, with and without a browser."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.importing import content
from tracelet.store.run import Run

pytestmark = pytest.mark.skipif(importlib.util.find_spec("nicegui") is None, reason="the dashboard needs NiceGUI")

Record = Callable[..., Run]


@contextmanager
def serving(*options: str, **environment: str) -> Iterator[list[str]]:
    """The command, until the block ends; gives the lines that it prints, all of them once it has ended."""
    clean = {name: text for name, text in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tracelet", "ui", "--port", "0", *options], stdout=subprocess.PIPE, text=True,
        env={**clean, **environment},
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    try:
        yield lines
    finally:
        process.send_signal(signal.SIGINT)
        lines += process.stdout.readlines()  # not communicate(), which passes over what readline() has read ahead
        process.stdout.close()
        assert process.wait(30) == 0


@pytest.mark.slow
def test_without_a_browser_the_live_text_view_is_offered(record: Record) -> None:
    """Where there is no display, the address is told all the same, and what to type instead of opening it."""
    record("run")
    with serving() as lines:
        address, token = re.findall(r"(http://127[.]0[.]0[.]1:\d+/)[?]token=(\S+)", lines[0])[0]
        request = urllib.request.Request(address + "api/runs", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert b"run" in answer.read()
    assert "tracelet top latest" in "".join(lines)
    with serving(DISPLAY=":0") as lines:
        pass
    assert "tracelet top" not in "".join(lines)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there the browser is opened by xdg-open")
def test_the_browser_is_opened_if_asked_for(record: Record, tmp_path: Path) -> None:
    """With --open the desktop is given the address that the terminal shows."""
    record("run")
    opened = tmp_path / "opened"
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f"#!/bin/sh\necho \"$1\" > '{opened}.part' && mv '{opened}.part' '{opened}'\n")
    opener.chmod(0o755)
    with serving("--open", PATH=f"{opener.parent}:{os.environ['PATH']}") as lines:
        for _ in range(300):
            if opened.exists():
                break
            time.sleep(0.1)
        assert opened.read_text().strip() in lines[0]
        assert opened.read_text().startswith("http://127.0.0.1:")
    assert "tracelet top" not in "".join(lines)


@pytest.mark.slow
def test_a_folder_of_another_tracker(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs are shown, without the store's, read-only, and neither the folder nor the store changes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = record("own")
    folder = tmp_path / "logs" / "version_0"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("step,loss\n0,0.5\n1,0.25\n", encoding="utf-8")
    for name in ("version_0", "version_1"):  # the second time there is a run more
        (tmp_path / "logs" / name).mkdir(exist_ok=True)
        (tmp_path / "logs" / name / "metrics.csv").write_bytes((folder / "metrics.csv").read_bytes())
        before = content(tmp_path / "logs"), content(own.path)
        with serving(str(tmp_path / "logs")) as lines:
            address, token = re.findall(r"(http://127[.]0[.]0[.]1:\d+/)[?]token=(\S+)", lines[0])[0]
            request = urllib.request.Request(address + "api/runs", headers={"Authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                shown = answer.read().decode()
        assert name in shown and '"own"' not in shown
        assert (content(tmp_path / "logs"), content(own.path)) == before


@pytest.mark.slow
def test_a_folder_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says which formats it knows."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "tracelet", "ui", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "holds no run in a known format" in done.stderr
