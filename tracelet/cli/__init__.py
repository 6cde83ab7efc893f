"""The command `tracelet`: one file per command, loaded on demand. Runs in a process of its own.

Reads stores; never imports torch, Lightning or an SDK. An error that tracelet raises on purpose becomes one line on
stderr and exit code 2; if the reader of our output closes the pipe, the command ends silently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import click

from tracelet._version import __version__
from tracelet.cli.formatting import visible
from tracelet.errors import TraceletError
from tracelet.registry import load

COMMANDS: dict[str, str] = {
    "run": "tracelet.cli.run:run",
    "demo": "tracelet.cli.demo:demo",
    "ls": "tracelet.cli.ls:ls",
    "show": "tracelet.cli.show:show",
    "compare": "tracelet.cli.compare:compare",
    "reproduce": "tracelet.cli.reproduce:reproduce",
    "ui": "tracelet.cli.ui:ui",
    "mcp": "tracelet.cli.mcp:mcp",
    "top": "tracelet.cli.top:top",
    "report": "tracelet.cli.report:report",
    "export": "tracelet.cli.export:export",
    "query": "tracelet.cli.query:query",
    "import": "tracelet.cli.import_runs:import_runs",
    "time": "tracelet.cli.time:time",
    "trace": "tracelet.cli.trace:trace",
    "rename": "tracelet.cli.rename:rename",
    "tag": "tracelet.cli.tag:tag",
    "archive": "tracelet.cli.archive:archive",
    "rm": "tracelet.cli.rm:rm",
    "sweep": "tracelet.cli.sweep:sweep",
    "sync": "tracelet.cli.sync:sync",
    "verify": "tracelet.cli.verify:verify",
    "doctor": "tracelet.cli.doctor:doctor",
}
"""Name to command, in the order of `tracelet --help`."""
ALIASES = {"list": "ls", "delete": "rm"}
"""Other names of commands; the help does not list them."""


class CommandError(click.ClickException):
    """An error that tracelet raised on purpose, in the command line's form."""

    exit_code = 2

    def show(self, file: Any = None) -> None:
        """Print the one line."""
        click.echo(f"tracelet: {self.format_message()}", file=file, err=file is None)


class LazyGroup(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in our order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None for an unknown name."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        command = load(COMMANDS[name])
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, each with its whole first sentence: click would cut it at the width of the terminal."""
        with formatter.section("Commands"):
            commands = [(name, self.get_command(ctx, name)) for name in COMMANDS]
            formatter.write_dl([(name, command.get_short_help_str(500)) for name, command in commands if command])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Like click's, but suggests the closest command for an unknown name."""
        if args and args[0] not in (*COMMANDS, *ALIASES) and not args[0].startswith("-"):
            self._unknown(ctx, args[0])
        return super().resolve_command(ctx, args)

    @staticmethod
    def _unknown(ctx: click.Context, name: str) -> NoReturn:
        import difflib

        if name.endswith(".py"):
            raise click.UsageError(f"To record a script, type: tracelet run {name}", ctx)
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Commands: " + ", ".join(COMMANDS) + "."
        raise click.UsageError(f"There is no command {name!r}. {hint}", ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; our errors become one line."""
        try:
            return super().invoke(ctx)
        except TraceletError as error:
            raise CommandError(visible(str(error))) from error


def _replace_unencodable(streams: Iterable[Any]) -> None:
    """Print characters that the terminal's encoding lacks as question marks instead of failing."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tracelet")
def main() -> None:
    """Record PyTorch and Lightning training runs, and inspect what was recorded."""
    _replace_unencodable((sys.stdout, sys.stderr))
