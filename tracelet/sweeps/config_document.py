"""Reads the configuration of a sweep from a YAML or JSON file, and remembers the line of every key and item.

Called on the thread that starts a sweep. Checks the syntax and nothing else; see `tracelet.sweeps.sweep_config`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from tracelet.errors import SweepError

if TYPE_CHECKING:
    import yaml

Place = tuple[Union[str, int], ...]
"""The keys and indices that lead to a value: `("parameters", "lr", "min")`."""


@dataclass(frozen=True)
class ConfigDocument:
    """A configuration as it was written."""

    values: Any
    """A mapping, if it is right."""
    name: str = ""
    """The file's name; empty for a configuration from a program."""
    lines: dict[Place, int] = field(default_factory=dict)

    def describe(self, place: Place) -> str:
        """Where a value is, for a message: `sweep.yaml, line 3: `."""
        for end in range(len(place), -1, -1):
            if place[:end] in self.lines:
                return f"{self.name}, line {self.lines[place[:end]]}: "
        return f"{self.name}: " if self.name else ""


def read_document(source: str | os.PathLike[str] | Mapping[str, Any]) -> ConfigDocument:
    """The document in a file, or the one that a program gives as a mapping. SweepError if it cannot be read."""
    if isinstance(source, Mapping):
        return ConfigDocument(dict(source))
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SweepError(f"the sweep configuration {str(path)!r} cannot be read ({reason})") from None
    document = _from_yaml(path.name, text)
    if path.suffix == ".json":  # YAML 1.1 takes a few of JSON's numbers for strings, such as 1e-3
        document = ConfigDocument(_from_json(path.name, text), path.name, document.lines)
    if not isinstance(document.values, dict):
        raise SweepError(f"{path.name} must be a mapping with `method` and `parameters`, not {document.values!r}")
    return document


def _from_json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SweepError(f"{name} is not valid JSON: {error}") from None


def _from_yaml(name: str, text: str) -> ConfigDocument:
    import yaml

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        lines: dict[Place, int] = {}
        if node is not None:
            _collect_lines(node, (), lines, name)
        values = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise SweepError(f"{name}{where}: this is not valid YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SweepError(f"{name} is not valid YAML: {error}") from None
    finally:
        loader.dispose()
    return ConfigDocument(values, name, lines)


def _collect_lines(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> None:
    import yaml

    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            if inner in lines:
                raise SweepError(f"{name}, line {key.start_mark.line + 1}: {key.value!r} is given twice")
            lines[inner] = key.start_mark.line + 1
            _collect_lines(value, inner, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*place, index), lines, name)
