"""The dataclasses that `simple_parsing` fills from the command line.

Called on the user's thread after the parser has returned. Its parser is derived from argparse's, which then records
nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tracelet.integrations.parameter_source import ParameterSource, from_program
from tracelet.integrations.patching import Patch


class SimpleParsingIntegration(ParameterSource):
    """Records the result of a parser, and under plain names that of `simple_parsing.parse()`."""

    name = "simple_parsing"

    def patches(self) -> Iterable[Patch]:
        """The parser, and the function that creates one for a single dataclass, under both its names."""
        whole = self.outermost(self._take_parsed)
        return [
            Patch("simple_parsing.parsing", "ArgumentParser.parse_known_args", self.outermost(self._take_known)),
            Patch("simple_parsing.parsing", "parse", whole),
            Patch("simple_parsing", "parse", whole, optional=True),
        ]

    def _take_known(self, result: Any, _: Any, args: Any = None, *__: Any, **___: Any) -> None:
        if from_program(args, sys._getframe(2)):
            self.tell({name: value for name, value in vars(result[0]).items() if name != "subgroups"})

    def _take_parsed(self, result: Any, *_: Any, args: Any = None, **__: Any) -> None:
        if args is None or from_program([str(args)], sys._getframe(2)):
            self.tell(result)
