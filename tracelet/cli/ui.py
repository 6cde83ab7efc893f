"""`tracelet ui`: the dashboard over a store, in the browser."""

from __future__ import annotations

import importlib.util
import os
import sys

import click

from tracelet.cli.options import store_option
from tracelet.store.store import Store


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; others need a token.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port (default: 8765, or a free one; 0: any free one).")
@click.option("--token", default="", envvar="TRACELET_UI_TOKEN", help="Ask for this token on this machine too.")
@click.option(
    "--allow-host", "names", metavar="NAME", multiple=True, help="Also answer to this host name (repeatable)."
)
@click.option("--read-only", is_flag=True, help="No renaming, tagging, pinning, deleting.")
@click.option("--open", "opened", is_flag=True, help="Open the browser.")
@store_option
def ui(
    store: Store, host: str, port: int | None, token: str, names: tuple[str, ...], read_only: bool, opened: bool
) -> None:
    """Show the dashboard: a local web page over the store."""
    if importlib.util.find_spec("nicegui") is None:
        raise click.ClickException("the dashboard needs NiceGUI. Type: pip install 'tracelet[ui]'")
    from tracelet.ui.server import Options, serve

    def ready(address: str) -> None:
        click.echo(f"tracelet ui: {address}\nstore: {store.root}\nCtrl-C ends it.")
        sys.stdout.flush()
        if opened:
            click.launch(address)
        elif not _has_display():
            click.echo("No browser here? Type in another terminal: tracelet top latest")

    serve(store, Options(host, port, token, read_only, names), ready)


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
