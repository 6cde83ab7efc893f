"""The command line that a program parses with `argparse`, in one go or in several.

Called on the user's thread after a parser has returned. `parse_args()` and the intermixed variants all end in
`parse_known_args()`. A parser that a library uses for itself (Hydra's, a notebook's magic commands) tells nothing about
the program and is left alone; one that a library offers to programs, such as `HfArgumentParser`, is theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tracelet.integrations.parameter_source import ParameterSource, is_program
from tracelet.integrations.patching import Patch


class ArgparseIntegration(ParameterSource):
    """Records the namespace that a parser returns."""

    name = "argparse"

    def patches(self) -> Iterable[Patch]:
        """The methods in which parsing ends."""
        parser = "ArgumentParser.parse_known_"
        return [
            Patch("argparse", f"{parser}args", self.outermost(self._take)),
            Patch("argparse", f"{parser}intermixed_args", self.outermost(self._take)),
        ]

    def _take(self, result: Any, parser: Any, *_: Any, **__: Any) -> None:
        if is_program(sys._getframe(2), {kind.__module__ for kind in type(parser).__mro__}):
            self.tell(result[0])
