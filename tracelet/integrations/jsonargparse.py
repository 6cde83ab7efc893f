"""The configuration that `jsonargparse` parses: command line, configuration files and defaults together.

Called on the user's thread after a parser has returned. LightningCLI is built on it; the `config.yaml` that it saves
beside the checkpoints becomes an artifact of the run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.guard import guard
from tracelet.integrations.parameter_source import ParameterSource, from_program, is_program
from tracelet.integrations.patching import Function, Patch

NO_PARAMETERS = frozenset({"config", "__default_config__"})
"""The configuration files from which values were read."""

CLI = ("lightning.pytorch.cli", "pytorch_lightning.cli")
OF_TRAINER = frozenset({"trainer"})
"""Under LightningCLI: the arguments of the Trainer, which are recorded when it is created."""


class JsonargparseIntegration(ParameterSource):
    """Records the namespace that a parser returns, and LightningCLI's configuration file."""

    name = "jsonargparse"

    def patches(self) -> Iterable[Patch]:
        """The parser's two entry points, and LightningCLI's saving of a configuration on rank 0."""
        parser = "ArgumentParser.parse_"
        return [
            Patch("jsonargparse._core", f"{parser}args", self.outermost(self._take_args), optional=True),
            Patch("jsonargparse._core", f"{parser}object", self.outermost(self._take_object), optional=True),
            Patch("jsonargparse._core", "ArgumentParser.save", self._around_save, optional=True),
        ]

    def _take_args(self, result: Any, parser: Any, args: Any = None, *_: Any, **__: Any) -> None:
        if from_program(args, sys._getframe(2)):
            self._take(result, parser)

    def _take_object(self, result: Any, parser: Any, *_: Any, **__: Any) -> None:
        if is_program(sys._getframe(2), (type(parser).__module__,)):
            self._take(result, parser)

    def _take(self, namespace: Any, parser: Any) -> None:
        values = plain(namespace)
        chosen = values.get("subcommand")
        if isinstance(values.get(chosen), dict):
            values.update(values.pop(chosen))  # there is one command line: `fit/model/lr` is `model/lr`
        hidden = NO_PARAMETERS | (OF_TRAINER if type(parser).__module__ in CLI else frozenset())
        self.tell({name: value for name, value in values.items() if name not in hidden})

    def _around_save(self, original: Function) -> Function:
        def save(parser: Any, cfg: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(parser, cfg, path, *args, **kwargs)
            with guard("keeping a saved configuration"):
                self.keep(str(path), kind="config")
            return result

        return save


def plain(value: Any) -> Any:
    """A jsonargparse namespace as mappings; it shares only the name with argparse's."""
    if type(value).__module__.partition(".")[0] == "jsonargparse" and hasattr(value, "as_dict"):
        value = value.as_dict()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    return value
