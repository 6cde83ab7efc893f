"""The values that `tyro.cli()` parses into a dataclass, or into the arguments of a function.

Called on the user's thread when everything is parsed, before the function or the constructor is called: a function may
be the whole training.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.parameter_source import ParameterSource
from tracelet.integrations.patching import Function, Patch


class TyroIntegration(ParameterSource):
    """Records the arguments of the outermost callable."""

    name = "tyro"

    def patches(self) -> Iterable[Patch]:
        """The parsing, inside which argparse may run, and the step that combines values and callable."""
        return [
            Patch("tyro._cli", "_cli_impl", self.outermost(lambda *_, **__: None), optional=True),
            Patch("tyro._calling", "callable_with_args", self._around_values, optional=True),
        ]

    def _around_values(self, original: Function) -> Function:
        def callable_with_args(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            with guard("recording the parameters of tyro"):
                self._take(result[0], *args, **kwargs)
            return result

        return callable_with_args

    def _take(self, call: Any, f: Any, parser_definition: Any, *_: Any, field_name_prefix: str = "", **__: Any) -> None:
        if field_name_prefix or parser_definition.extern_prefix or not isinstance(call, functools.partial):
            return
        try:
            bound = inspect.signature(call.func).bind(*call.args, **call.keywords)
        except (TypeError, ValueError):
            values = dict(call.keywords)
        else:
            bound.apply_defaults()
            values = dict(bound.arguments)
        self.tell(values)
