"""How a process ends, and what its run says afterwards: real processes, real signals, real exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import tracelet
from tracelet.store.run import Run

SETTINGS = {
    "TRACELET_QUIET": "1", "TRACELET_DELIVERY": "off", "TRACELET_TRACK_SYSTEM": "0", "TRACELET_TRACK_GIT": "0",
    "TRACELET_TRACK_ENV": "0", "TRACELET_TRACK_LIGHTNING": "0", "TRACELET_TRACK_TENSORBOARD": "0",
    "TRACELET_TRACK_SPANS": "0",
}  # fmt: skip


def spawn(code: str) -> subprocess.Popen[str]:
    """A script that has started a run and logged one point before `code`."""
    script = Path("script.py")
    before = "import os, signal, sys, threading, time, atexit\nimport tracelet\nrun = tracelet.start_logging('x')\n"
    script.write_text(before + "run.log_metric('m', 1.0)\n" + textwrap.dedent(code), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, **SETTINGS}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code and what it wrote to stderr."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def latest() -> Run:
    """The newest run here."""
    return tracelet.open_store().run("latest")


KEY = "hf_" + "aBcdEf12gh3Jklmn4pqrsTuv5xyzABcd6f"
MUTE = "class Mute(Exception):\n    def __str__(self): raise RuntimeError('no text')"
TOLD = "reading an exception's text failed (RuntimeError: no text). Your program is not affected"


@dataclass
class Case:
    """A way to end, and what must be known of it. `code`: the exit code that plain Python gives."""

    script: str
    status: str
    code: int
    reason: str = ""
    traceback: str = ""
    told: str = ""
    """What tracelet says, if it has to."""


CASES = {
    "falls off its end": Case("", "finished", 0),
    "stops the run": Case("tracelet.stop_logging()", "finished", 0),
    "uncaught exception": Case("def f():\n    raise ValueError('boom')\nf()", "failed", 1, "ValueError: boom", "in f"),
    "exception after stopping": Case("tracelet.stop_logging()\nraise ValueError('later')", "finished", 1),
    "exception that was caught before": Case("try: 1/0\nexcept ZeroDivisionError: pass", "finished", 0),
    "exception in a thread": Case("t = threading.Thread(target=lambda: 1/0); t.start(); t.join()", "finished", 0),
    "own excepthook": Case("sys.excepthook = lambda *a: None\nraise KeyError('k')", "failed", 1, "KeyError: 'k'"),
    "sys.exit(0)": Case("sys.exit(0)", "finished", 0),
    "sys.exit(3)": Case("sys.exit(3)", "finished", 3),  # Python tells atexit nothing about it
    "sys.exit(3) in the with block": Case("with run: sys.exit(3)", "failed", 3, "SystemExit: 3"),
    "exception that holds a secret": Case(
        f"raise ValueError('token={KEY}')", "failed", 1, "ValueError: token=***", "('token=***')"
    ),
    "exception without a text": Case(f"{MUTE}\nraise Mute", "failed", 1, "Mute", "in <module>", TOLD),
    "exception without a text in the with block": Case(
        f"{MUTE}\nwith run: raise Mute", "failed", 1, "Mute", "in <module>", TOLD
    ),
    "exception in the with block": Case("with run: raise OSError('disk')", "failed", 1, "OSError: disk", "disk"),
    "KeyboardInterrupt": Case("raise KeyboardInterrupt", "interrupted", -signal.SIGINT, "Ctrl-C"),
    "SIGINT": Case("signal.raise_signal(signal.SIGINT); time.sleep(9)", "interrupted", -signal.SIGINT, "Ctrl-C"),
    "SIGINT in the with block": Case(
        "with run:\n    signal.raise_signal(signal.SIGINT); time.sleep(9)", "interrupted", -signal.SIGINT, "Ctrl-C"
    ),
    "SIGTERM by default": Case("run.flush(); signal.raise_signal(signal.SIGTERM)", "killed", -signal.SIGTERM),
    "SIGTERM as an exception": Case(
        "def stop(*_): raise SystemExit(143)\nsignal.signal(signal.SIGTERM, stop)\n"
        "with run: signal.raise_signal(signal.SIGTERM); time.sleep(9)",
        "failed", 143, "SystemExit: 143",
    ),
    "SIGKILL": Case("run.flush(); os.kill(os.getpid(), signal.SIGKILL)", "killed", -signal.SIGKILL),
    "os._exit": Case("run.flush(); os._exit(5)", "killed", 5),
    "os.abort": Case("run.flush(); os.abort()", "killed", -signal.SIGABRT),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_way_to_end(name: str) -> None:
    """Status, reason and traceback fit how the process ended; the exit code is that of plain Python."""
    case = CASES[name]
    code, errors = end(spawn(case.script))
    run = latest()
    assert code == case.code, errors
    assert (run.info.status, run.series("m").values.tolist()) == (case.status, [1.0])
    if case.reason:
        assert run.info.reason == case.reason
        assert "Traceback" in run.status_record.traceback
        assert case.traceback in run.status_record.traceback
    assert run.problems == []
    assert case.told in errors and errors.count("tracelet: ") == bool(case.told)
    assert "Exception ignored" not in errors and KEY not in run.status_record.traceback
    assert code == end_plain(case.script)[0]


def end_plain(script: str) -> tuple[int, str]:
    """The same script without tracelet."""
    code = (
        "import os, signal, sys, threading, time, contextlib\n"
        "class run(contextlib.nullcontext): flush = staticmethod(lambda: None)\nrun = run()\n"
        "class tracelet: stop_logging = staticmethod(lambda: None)\n" + textwrap.dedent(script)
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return end(process)


def test_a_busy_writer_is_waited_for_at_the_exit() -> None:
    """A program that ends right after a burst of 300,000 points has them all on disk."""
    code, errors = end(spawn("for step in range(300_000): run.log_metric('burst', 0.5, step)"))
    assert (code, errors) == (0, "")
    assert latest().summaries()["burst"].count == 300_000
    assert latest().info.status == "finished"


def test_threads_that_outlive_the_main_thread_are_recorded() -> None:
    """Python waits for ordinary threads before it ends, and so what they log is recorded."""
    script = """
    def work():
        for step in range(50):
            time.sleep(0.005)
            run.log_metric("thread", step, step)
    threading.Thread(target=work).start()
    """
    assert end(spawn(script)) == (0, "")
    assert latest().series("thread").steps.tolist() == list(range(50))


def test_daemon_threads_that_log_through_the_shutdown_disturb_nothing() -> None:
    """Daemon threads that never stop logging neither hang the exit nor make noise; their points up to it are whole."""
    script = """
    def work(name):
        step = 0
        while True:
            run.log_metric(name, float(step), step)
            tracelet.log({name + "-too": 1.0})
            step += 1
    for number in range(4):
        threading.Thread(target=work, args=(f"t{number}",), daemon=True).start()
    time.sleep(0.3)
    """
    code, errors = end(spawn(script))
    assert code == 0
    assert "Traceback" not in errors
    assert "Fatal" not in errors
    run = latest()
    assert run.info.status == "finished"
    for number in range(4):
        steps = run.series(f"t{number}").steps.tolist()
        assert steps == list(range(len(steps)))


def test_an_interrupted_stop_keeps_what_it_was_told() -> None:
    """Ctrl-C while the parts are being stopped: the exit stops the others and records the end that stop was told."""
    script = """
    from tracelet.session import active_session as session

    class Interrupted:
        def stop(self):
            raise KeyboardInterrupt

    class Stopped:
        def stop(self):
            print("stopped", file=sys.stderr)

    session._current._parts += [("the other", Stopped()), ("the interrupted", Interrupted())]
    try:
        tracelet.stop_logging()
    except KeyboardInterrupt:
        pass
    """
    code, errors = end(spawn(script))
    assert (code, errors) == (0, "stopped\n")
    assert (latest().info.status, latest().info.reason) == ("finished", "")


def test_logging_from_finalizers_disturbs_nothing() -> None:
    """Objects that log in __del__, during the run and while Python shuts down, make no noise and no hang."""
    script = """
    class Late:
        def __del__(self):
            run.log_metric("late", 1.0)
            tracelet.log({"late2": 1.0})
            run.flush()
    import gc
    for _ in range(1000):
        late = Late(); late.self = late
    gc.collect()
    sys.modules["keep"] = Late()
    keep = [Late() for _ in range(10)]
    """
    code, errors = end(spawn(script))
    assert code == 0
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert latest().summaries()["late"].count == 999  # the last of the thousand lives until after the run


def test_the_order_of_exit_handlers() -> None:
    """Handlers registered after the start are recorded; those registered before it run too late."""
    script = """
    atexit.register(lambda: run.log_metric("after", 1.0))
    """
    before = Path("early.py")
    before.write_text(
        "import atexit, tracelet\natexit.register(lambda: tracelet.log({'before': 1.0}))\n"
        "run = tracelet.start_logging('x')\natexit.register(lambda: run.log_metric('after', 1.0))\n",
        encoding="utf-8",
    )
    assert end(spawn(script)) == (0, "")
    assert latest().metrics() == ["after", "m"]
    done = subprocess.run(
        [sys.executable, str(before)], env={**os.environ, **SETTINGS}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.count("nothing was recorded") == 1
    assert latest().metrics() == ["after"]


@pytest.mark.parametrize("call", ["tracelet.stop_logging()", "run.stop()", "run.flush()", "run.log_metric('s', 1.0)"])
def test_a_signal_handler_may_call_anything(call: str) -> None:
    """Whatever a handler calls while the main thread logs and flushes, nothing hangs and the run ends sound."""
    script = f"""
    def handle(*_):
        {call}
    signal.signal(signal.SIGUSR1, handle)
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        run.log_metric("m2", 1.0)
        run.flush()
    """
    code, errors = end(spawn(script))
    assert code == 0
    assert "Traceback" not in errors
    run = latest()
    assert run.info.status == "finished"
    assert run.problems == []
    steps = run.series("m2").steps.tolist()
    assert steps == list(range(len(steps)))


def test_a_second_interrupt_while_stopping_loses_nothing() -> None:
    """Ctrl-C pressed again while the run is being stopped: the exit finishes what is left."""
    script = """
    for step in range(200_000): run.log_metric("burst", 0.5, step)
    try:
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
        tracelet.stop_logging()
        time.sleep(5)
    except KeyboardInterrupt:
        pass
    """
    assert end(spawn(script)) == (0, "")
    run = latest()
    assert run.summaries()["burst"].count == 200_000
    assert run.info.status == "finished"


def test_a_killed_process_is_seen_while_others_go_on() -> None:
    """A live process is running as long as it lives, and killed as soon as it does not."""
    process = spawn("run.flush(); print('ready', flush=True); time.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert latest().info.status == "running"
    process.kill()
    process.communicate()
    assert latest().info.status == "killed"


def test_a_deleted_working_directory_does_not_matter() -> None:
    """A program whose folder is deleted under it records on, to where the store was."""
    script = """
    import shutil
    home = os.getcwd()
    shutil.rmtree(home)
    run.log_metric("m", 2.0)
    run.flush()
    tracelet.stop_logging()
    """
    here = Path.cwd()
    code, errors = end(spawn(script))
    assert code == 0, errors
    os.chdir(here)
    run = tracelet.open_store(here / ".tracelet").run("latest")
    assert (run.info.status, run.series("m").values.tolist()) == ("finished", [1.0, 2.0])
    assert errors.count("complete journal was written there again") == 1


def test_the_exit_does_not_wait_for_nothing() -> None:
    """Without anything to deliver the exit is prompt: far below the setting that bounds it."""
    begin = time.monotonic()
    assert end(spawn("")) == (0, "")
    assert time.monotonic() - begin < 30
