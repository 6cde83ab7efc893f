"""`tracelet mcp`: lets a coding assistant read a store, over the Model Context Protocol on stdin and stdout.

Uses the official SDK, which the extra `mcp` installs. Only reads; listens to no network.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import click

from tracelet._version import __version__
from tracelet.cli.mcp_tools import Answer, Tools
from tracelet.cli.options import store_option
from tracelet.errors import TraceletError, install_command
from tracelet.store.store import Store

INSTRUCTIONS = (
    "Training runs that tracelet recorded. Begin with list_runs. Whether lower or higher is better is known only where "
    "a goal is given; never guess it from a name. Times are seconds since the epoch. You can only read."
)


@click.command()
@store_option
def mcp(store: Store) -> None:
    """Serve the store to a coding assistant over MCP (stdin and stdout). Read-only.

    In Claude Code: claude mcp add tracelet -- tracelet mcp --dir FOLDER. Other assistants take the same command.
    """
    if importlib.util.find_spec("mcp") is None:
        raise click.ClickException(f"this command needs the MCP SDK. Type: {install_command('mcp')}")
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations

    server = MCPServer("tracelet", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in Tools(store).all():
        server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))(_explained(tool))
    server.run("stdio")


def _explained(tool: Callable[..., Answer]) -> Callable[..., Answer]:
    """The tool; the assistant reads our errors, which say what to do, instead of `Error executing tool`."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    def call(*args: Any, **kwargs: Any) -> Answer:
        try:
            return tool(*args, **kwargs)
        except TraceletError as error:
            raise ToolError(str(error)) from error

    return call
