"""A program prints the very same with and without its console being recorded, and all of it is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracelet

PROGRAM = """
import contextlib, io, json, logging, os, subprocess, sys, threading, time, warnings
import tracelet
def state():
    out, err = sys.stdout, sys.stderr
    return out, err, out.fileno(), err.isatty(), out.encoding, out.errors, out.line_buffering, out.buffer
before = state()
if RECORDED:
    tracelet.start_logging("printing", config={"quiet": True, "delivery": "off", "track_system": False})
assert state() == before
print("plain", 1, 2.5, None, sep="|", end="!\\n", flush=True)
print("umlauts \\u00e4\\u00f6\\u00fc \\u2603 \\udc80".encode("utf-8", "replace").decode())
sys.stdout.writelines(["of ", "several ", "pieces\\n"])
assert sys.stdout.write("counted\\n") == 8
sys.stdout.buffer.write(b"past us\\n"); sys.stdout.flush()
for step in range(30):
    sys.stderr.write(f"\\rstep {step}/30")
sys.stderr.write("\\n")
logging.basicConfig(stream=sys.stderr, format="%(levelname)s %(message)s"); logging.warning("logged")
warnings.warn("warned", stacklevel=1)
with contextlib.redirect_stdout(io.StringIO()) as caught:
    print("caught")
assert caught.getvalue() == "caught\\n"
subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
sys.stdout.flush()
if os.fork() == 0:
    print("of a fork", flush=True)
    os._exit(0)
os.wait()
threads = [threading.Thread(target=lambda n=n: print(f"thread {n}")) for n in range(3)]
for thread in threads:
    thread.start(); thread.join()
with contextlib.suppress(TypeError):
    sys.stdout.write(b"bytes")
if RECORDED and STOPPED:
    tracelet.stop_logging()
    assert "write" not in vars(sys.stdout) and "write" not in vars(sys.stderr)
print("no end", end="")
raise SystemExit("leaving") if STOPPED else KeyError("uncaught")
"""


def printed(folder: Path, recorded: bool, stopped: bool) -> tuple[int, bytes, bytes]:
    """Exit code and both outputs of the program."""
    folder.mkdir()
    (folder / "program.py").write_text(f"RECORDED, STOPPED = {recorded}, {stopped}\n{PROGRAM}", encoding="utf-8")
    root = str(Path(tracelet.__file__).parents[1])
    given = {"PYTHONPATH": root, "TRACELET_DIR": str(folder / "store"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env={**os.environ, **given}, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [True, False])
def test_output_is_bit_identical_and_recorded(tmp_path: Path, stopped: bool) -> None:
    """Both streams and the exit code are the same to the byte; what came through the two objects is in the run."""
    plain = printed(tmp_path / "a", recorded=False, stopped=stopped)
    with_us = printed(tmp_path / "b", recorded=True, stopped=stopped)
    folders = str(tmp_path / "a").encode(), str(tmp_path / "b").encode()
    assert plain[0] == with_us[0]
    assert plain[1] == with_us[1]
    assert plain[2].replace(folders[0], b"") == with_us[2].replace(folders[1], b"")
    run = tracelet.open_store(tmp_path / "b" / "store").run("latest")
    out = [line.text for line in run.console("stdout")]
    expected = [
        "plain|1|2.5|None!",
        "umlauts äöü ☃ ?",
        "of several pieces",
        "counted",
        "thread 0",
        "thread 1",
        "thread 2",
    ]
    assert out[:7] == expected
    assert out[7:] == ([] if stopped else ["no end"])
    err = [line.text for line in run.console("stderr")]
    assert err[:2] == ["step 29/30", "WARNING logged"]
    assert any("warned" in line for line in err)
    assert stopped or err[-1] == "KeyError: 'uncaught'"
    assert run.problems == []
