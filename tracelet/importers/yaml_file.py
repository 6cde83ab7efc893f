"""YAML files of other trackers. Used by importers; runs no code that a file names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracelet.errors import ImportFailed

if TYPE_CHECKING:
    import yaml


def loaded(path: Path) -> Any:
    """The file's values; Python objects are described by their type. ImportFailed if it is no YAML."""
    import yaml

    class Loader(yaml.SafeLoader):
        """A safe loader that describes unknown tags."""

    def describe(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True) or suffix
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True) or suffix
        return getattr(node, "value", "") or suffix

    Loader.add_multi_constructor("", describe)
    try:
        with open(path, encoding="utf-8") as file:
            return yaml.load(file, Loader)  # noqa: S506
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ImportFailed(f"{path} cannot be read as YAML: {error}") from None
