"""The options and arguments of the commands that a program runs through `click`.

Called on the user's thread before the command's own function runs, which may be the whole training. A group and its
subcommands are one command line; the parameter `command` holds the names of the subcommands.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.parameter_source import ParameterSource
from tracelet.integrations.patching import Function, Patch


class ClickIntegration(ParameterSource):
    """Records the parameters of each command that is invoked."""

    name = "click"

    def patches(self) -> Iterable[Patch]:
        """The places where a command, a group or a subcommand calls its function."""
        return [Patch("click.core", "Command.invoke", self.around_invoke)]

    def is_mine(self, command: Any) -> bool:
        """Whether a command belongs to this library: older versions of Typer derive their commands from click's."""
        return not is_typer(command)

    def around_invoke(self, original: Function) -> Function:
        """A wrapper that first records the context's parameters."""

        def invoke(command: Any, ctx: Any, *args: Any, **kwargs: Any) -> Any:
            with guard(f"recording the parameters of {self.name}"):
                if self.is_mine(command):
                    self._take(ctx)
            return original(command, ctx, *args, **kwargs)

        return invoke

    def _take(self, ctx: Any) -> None:
        values = dict(ctx.params)
        words = []
        while ctx.parent is not None:
            words.append(str(ctx.info_name))
            ctx = ctx.parent
        if words:
            values.setdefault("command", " ".join(reversed(words)))
        self.tell(values)


def is_typer(command: Any) -> bool:
    """Whether Typer created this command."""
    return any(kind.__module__.partition(".")[0] == "typer" for kind in type(command).__mro__)
