"""The arguments that Python Fire parses for the functions and classes that it calls.

Called on the user's thread when Fire has parsed the arguments of one call, before the call, which may be the whole
training.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.parameter_source import ParameterSource
from tracelet.integrations.patching import Function, Patch


class FireIntegration(ParameterSource):
    """Records the arguments of each call, including defaults."""

    name = "fire"

    def patches(self) -> Iterable[Patch]:
        """The place where Fire creates the parser of one call."""
        return [Patch("fire.core", "_MakeParseFn", self._around_make)]

    def _around_make(self, original: Function) -> Function:
        def make_parse_fn(fn: Any, *args: Any, **kwargs: Any) -> Any:
            parse = original(fn, *args, **kwargs)

            @functools.wraps(parse)
            def parsing(*given: Any, **named: Any) -> Any:
                result = parse(*given, **named)
                with guard("recording the parameters of fire"):
                    self._take(fn, *result[0])
                return result

            return parsing

        return make_parse_fn

    def _take(self, function: Any, positional: list[Any], named: dict[str, Any]) -> None:
        bound = inspect.signature(function).bind(*positional, **named)
        bound.apply_defaults()
        self.tell({name: value for name, value in bound.arguments.items() if value not in ((), {})})
