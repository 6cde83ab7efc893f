"""The options and arguments of the commands that a program runs through Typer.

Called on the user's thread. Typer includes a copy of click since 0.2x and derived its commands from click's before;
both places are patched, and each command is recorded once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracelet.integrations.click import ClickIntegration, is_typer
from tracelet.integrations.patching import Patch


class TyperIntegration(ClickIntegration):
    """Records the parameters of each command of a Typer app."""

    name = "typer"

    def patches(self) -> Iterable[Patch]:
        """The places where a command calls its function, in Typer's own copy of click and in click."""
        return [
            Patch("typer._click.core", "Command.invoke", self.around_invoke, optional=True),
            Patch("click.core", "Command.invoke", self.around_invoke),
        ]

    def is_mine(self, command: Any) -> bool:
        """Whether Typer created the command."""
        return is_typer(command)
