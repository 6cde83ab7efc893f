"""`tracelet demo`: trains a small real model in its own process and shows the recorded run."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import click

from tracelet.cli.options import dir_hint, store_option
from tracelet.cli.output import console
from tracelet.cli.run_page import RunPage
from tracelet.errors import RunNotFound, install_command
from tracelet.store.run import Run
from tracelet.store.store import Store

SCRIPT = Path(__file__).with_name("demo_training.py")
NEEDED = {"torch": "torch", "lightning": "lightning", "sklearn": "scikit-learn"}
"""Module to package; together they are the extra `demo`."""


@click.command()
@click.option("--code", is_flag=True, help="Print the training script instead of running it.")
@store_option
@click.pass_context
def demo(ctx: click.Context, store: Store, code: bool) -> None:
    """Train a small model with one added line of tracelet, and show what was recorded."""
    if code:
        click.echo(SCRIPT.read_text(encoding="utf-8"), nl=False)
        return
    _check_packages()
    run = _train(store)
    RunPage(run, console()).print_all()
    click.echo(_next_steps(run, dir_hint(ctx)))


def _check_packages() -> None:
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise click.ClickException(
            f"the demo trains a model and needs {' and '.join(missing)}. Type: {install_command('demo')}"
        )


def _train(store: Store) -> Run:
    environment = {**os.environ, "TRACELET_DIR": str(store.root), "TRACELET_QUIET": "1", "TRACELET_ENABLED": "1"}
    with console(stderr=True).status("training a network on scikit-learn's digits ..."):
        ended = subprocess.Popen(
            [sys.executable, str(SCRIPT)], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        with ended:
            output, _ = ended.communicate()
    run = next((run for run in store.runs() if run.info.pid == ended.pid), None)
    if ended.returncode or run is None:
        click.echo(output, err=True)
        raise RunNotFound(f"the training failed with exit code {ended.returncode}; its output is printed above.")
    return run


def _next_steps(run: Run, where: str) -> str:
    rows = [
        (f"tracelet ls{where}", "list all runs"),
        (f"tracelet show {run.id}{where}", "show this page again"),
        (f"tracelet show {run.id} --metric train/loss{where}", "plot one metric"),
        (f"tracelet export {run.id}{where}", "export every point as CSV"),
        ("tracelet demo --code", "print the training script: one line of it is tracelet's"),
        (f"tracelet ui{where}", "open the dashboard in the browser"),
    ]
    width = max(len(command) for command, _ in rows)
    return "\nNext steps\n" + "\n".join(f"  {command:<{width}}  {what}" for command, what in rows)
