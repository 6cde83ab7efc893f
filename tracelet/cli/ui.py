"""`tracelet ui`: serves the dashboard of a store, or of runs that another tracker wrote; opens a browser on request."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tracelet.cli.import_runs import all_importers, progress_bar, told_failure
from tracelet.cli.options import store_option
from tracelet.errors import install_command
from tracelet.importers import run_import
from tracelet.store.store import Store, prepare


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. A token is required, and part of the printed URL.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free port (default: 8765, or a free port if 8765 is in use).",
)  # fmt: skip
@click.option(
    "--token", default="", envvar="TRACELET_UI_TOKEN",
    help="Require this token from every browser (default: TRACELET_UI_TOKEN, otherwise a new one at every start).",
)  # fmt: skip
@click.option(
    "--no-token", "without_token", is_flag=True,
    help="Require no token from this machine, whose other users then reach the dashboard too.",
)  # fmt: skip
@click.option(
    "--allow-host", "names", metavar="NAME", multiple=True,
    help="Accept requests for this host name too, besides localhost and the address listened on (repeatable).",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="Disable renaming, tagging, pinning and deleting runs.")
@click.option("--open", "opened", is_flag=True, help="Open the dashboard in the browser.")
@store_option
def ui(
    store: Store, paths: tuple[Path, ...], host: str, port: int | None, token: str, without_token: bool,
    names: tuple[str, ...], read_only: bool, opened: bool,
) -> None:  # fmt: skip
    """Serve the dashboard of the store on a local web server.

    With PATH, a folder or file that another tracker wrote (`lightning_logs/`, `mlruns/`, `wandb/`, ...), serve those
    runs instead. They are imported into a cache, and nothing is written into PATH or into your store.
    """
    if importlib.util.find_spec("nicegui") is None:
        raise click.ClickException(f"the dashboard needs NiceGUI. Type: {install_command('ui')}")
    from tracelet.ui.server import Options, serve

    if paths:
        store, read_only = imported_store(paths), True

    def ready(address: str) -> None:
        click.echo(f"tracelet ui: {address}\nstore: {store.root}\nPress Ctrl-C to stop.")
        sys.stdout.flush()
        if opened:
            click.launch(address)
        elif not _has_display():
            click.echo("To watch a run without a browser, type in another terminal: tracelet top latest")

    serve(store, Options(host, port, token, without_token, read_only, names), ready)


def imported_store(paths: Sequence[Path]) -> Store:
    """The runs of other trackers in these paths, as a store in the user's cache folder, brought up to date."""
    from platformdirs import user_cache_path

    places = "\n".join(sorted(os.path.realpath(path) for path in paths))
    name = hashlib.blake2b(places.encode(errors="surrogateescape"), digest_size=10).hexdigest()
    store = Store.open(user_cache_path("tracelet") / "imported" / name)
    importers = all_importers()
    runs = run_import.find(paths, importers)
    prepare(str(store.root))
    with progress_bar(len(runs)) as progress:
        for outcome in run_import.import_runs(runs, importers, store.root, progress=progress):
            if isinstance(outcome, run_import.Failure):
                click.echo(told_failure(outcome), err=True)
    return store


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
