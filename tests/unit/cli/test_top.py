"""`tracelet top`: a run as text, once and live."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.cli.conftest import Call, Record


def test_once_prints_the_run(record: Record, call: Call) -> None:
    """Name, status, last values and a curve of every metric are printed, and the command ends."""
    record("one", {"loss": [3.0, 1.0, 2.0], "acc": [0.1]})
    output = call("top", "one", "--once").output
    assert "one" in output
    assert "finished" in output
    assert "█▁▅" in output


def test_without_a_terminal_it_ends(record: Record, call: Call) -> None:
    """In a pipe it prints once; an unknown metric is answered with the nearest."""
    record("one", {"loss": [1.0]})
    assert "loss" in call("top").output
    assert "Did you mean: loss" in call("top", "one", "--metric", "los", code=2).stderr


def test_in_a_terminal_it_goes_on(record: Record, tmp_path: Path) -> None:
    """In a terminal it stays until Ctrl-C, which ends it quietly."""
    record("one", {"loss": [1.0]})
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tracelet", "top", "one"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
        cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    try:
        seen, deadline = b"", time.monotonic() + 30
        while b"loss" not in seen and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.5)[0]:
                seen += os.read(ours, 65536)
        assert b"loss" in seen
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(ours)
        os.close(theirs)
