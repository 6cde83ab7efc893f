"""What a step, and the exit, take with backends that are dead, slow or hanging, divided by the same with none.

Three MLflow backends through the agent, and a training of a fixed amount of work a step that logs two metrics. They
take turns in fresh interpreters, because a shared machine's speed swings more than the figure in question. The kinds:
nothing listens at the address; every answer comes 500 ms late; connections are accepted and never answered; answers are
500, 429 and no MLflow's by turns; nobody listens and the agent is killed in the middle. The exit is compared with the
timeout that `stop_logging()` is given; an exit may wait that long and no longer.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import measure
import psutil

TRAINING = """
import json, sys, time
import tracelet

order = json.loads(sys.argv[1])
settings = {"dir": order["dir"], "quiet": True, "delivery": "agent" if order["urls"] else "off", "agent_linger": 0.1}
backends = {f"mlflow{n}": {"class": "tracelet.backends.mlflow.backend:MlflowBackend", "url": url, "timeout": 5}
            for n, url in enumerate(order["urls"])}
tracelet.start_logging("dead", backend=backends, config=settings)
time.sleep(order["settle"])  # the agent has imported the SDK and makes its first calls
wall, processor = time.perf_counter(), time.process_time()
for step in range(order["steps"]):
    total = sum(range(order["work"]))
    tracelet.log({"loss": 1 / (step + 1), "total": total}, step=step)
    time.sleep(0.001)
wall, processor = time.perf_counter() - wall, time.process_time() - processor
began = time.perf_counter()
tracelet.stop_logging(order["timeout"])
print(json.dumps([wall / order["steps"], processor / order["steps"], time.perf_counter() - began]))
"""
BACKENDS = 3
TIMEOUT = 2.0
"""Seconds that `stop_logging()` may wait; the backends need longer, or for ever."""
LATE = 0.5
SETTLE = 3.0
WORK = 40_000
"""Numbers that are added in a step: about a millisecond."""


class Cost(NamedTuple):
    """Seconds of one training: of a step by both clocks, and of the exit."""

    wall: float
    processor: float
    stop: float


class Late(BaseHTTPRequestHandler):
    """Answers with an error that says "try again", after a while."""

    after = LATE

    def do_GET(self) -> None:
        """Answer."""
        time.sleep(self.after)
        with suppress(ConnectionError):  # whoever asked was killed meanwhile
            self.send_response(self.status())
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

    do_POST = do_GET  # noqa: N815  # a name of the base

    def status(self) -> int:
        """What the answer is."""
        return 503

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


class Failing(Late):
    """Answers at once, and each time with another failure; 200 with a body that is no MLflow's is one."""

    after = 0.0
    answers = itertools.cycle([500, 429, 200])

    def status(self) -> int:
        """The next one."""
        return next(self.answers)


@contextmanager
def answering(kind: type[Late]) -> Iterator[socket.socket]:
    """Where such a server listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket
        server.shutdown()


@contextmanager
def addresses() -> Iterator[dict[str, str]]:
    """An address of each kind of trouble."""
    with socket.socket() as dead, socket.socket() as hanging, answering(Late) as late, answering(Failing) as failing:
        dead.bind(("127.0.0.1", 0))  # bound and not listening: refused
        hanging.bind(("127.0.0.1", 0))
        hanging.listen(1024)  # the kernel accepts, nobody answers
        ports = {"dead": dead, "slow": late, "hanging": hanging, "failing": failing, "killed": dead}
        yield {kind: f"http://127.0.0.1:{one.getsockname()[1]}" for kind, one in ports.items()}


def train(urls: list[str], steps: int, place: Path, kill: bool = False) -> Cost:
    """One training in a fresh interpreter; with `kill` its agent is killed in the middle."""
    order = {
        "urls": urls,
        "steps": steps,
        "work": WORK,
        "timeout": TIMEOUT,
        "settle": SETTLE,
        "dir": str(place / "store"),
    }
    environment = {**os.environ, "PYTHONPATH": str(measure.ROOT), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    killer = threading.Timer(SETTLE + steps * 1e-3 + 0.5, end_agents, [place])
    if kill:
        killer.start()
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, json.dumps(order)], cwd=place, env=environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    killer.cancel()
    end_agents(place)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def end_agents(place: Path) -> None:
    """The agents stay for a while where a backend does not answer: the next training must not meet them."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.endswith("agent/__main__.py") for word in words) and any(str(place) in word for word in words):
            process.send_signal(signal.SIGKILL)


def main(quick: bool, place: Path) -> None:
    """All kinds by turns."""
    rounds, steps = (3, 1500) if quick else (7, 3000)
    with addresses() as urls:
        kinds: dict[str, list[str]] = {"none": [], **{kind: [url] * BACKENDS for kind, url in urls.items()}}
        costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
        train(kinds["dead"], 10, place)  # the first one compiles
        for turn in range(rounds):
            for kind in kinds if turn % 2 else reversed(kinds):
                costs[kind].append(train(kinds[kind], steps, place, kill=kind == "killed"))
    print(f"{rounds} trainings of each kind by turns, {steps:,} steps each, {BACKENDS} backends")
    bare = costs.pop("none")
    measure.row("a step without backends, wall", f"{statistics.median(cost.wall for cost in bare) * 1e3:.3f} ms")
    for kind, taken in costs.items():
        for clock in ("wall", "processor"):
            ratio = measure.ratio([getattr(one, clock) for one in taken], [getattr(one, clock) for one in bare])
            measure.row(f"a step, {kind} / none, {clock}", f"{ratio:.3f}", "wanted 1")
        longest = max(cost.stop for cost in taken)
        measure.row(f"stop_logging({TIMEOUT:g}), {kind}, longest", f"{longest:.2f} s", f"wanted {TIMEOUT:g} s")


if __name__ == "__main__":
    chosen = measure.options(__doc__)
    with measure.folder() as made:
        main(chosen.quick, made)
