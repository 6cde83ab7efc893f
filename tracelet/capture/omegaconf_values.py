"""The values of an OmegaConf configuration as plain mappings and lists, with interpolations resolved where that is
safe.

Used for parameters and by the integrations of OmegaConf and Hydra, on the user's thread. A resolver that the program
has registered is its own code, which may count, draw random numbers or raise: it is never called, and `${mine:1}` stays
as it is written.
"""

from __future__ import annotations

import re
from typing import Any

RESOLVER = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*:")
HARMLESS = frozenset({"oc.env", "oc.select", "oc.decode", "oc.dict.keys", "oc.dict.values", "hydra", "now",
                      "python_version"})  # fmt: skip
"""Resolvers of OmegaConf and Hydra that always return the same result (Hydra caches `now`)."""
DEEPEST = 20
"""Maximum depth of nested interpolations."""


def is_config(value: Any) -> bool:
    """Whether this is a container of OmegaConf; imports nothing."""
    return hasattr(type(value), "_get_node") and hasattr(type(value), "_is_interpolation")


def plain_value(config: Any) -> Any:
    """The configuration as a dict or a list; the string of one that is missing or cannot be resolved."""
    return _plain(config, config._get_root())


def plain_values(config: Any, without: str = "") -> dict[str, Any]:
    """The configuration as a mapping, `without` one of its top-level names."""
    names = [name for name in config.keys() if name != without]  # noqa: SIM118  a DictConfig is no dict
    return {str(name): _plain(config._get_node(name), config) for name in names}


def _plain(node: Any, root: Any) -> Any:
    from omegaconf import DictConfig, ListConfig

    if node is None:
        return None
    if node._is_interpolation():
        text = str(node._value())
        return _resolved(node) if _is_harmless(text, root, DEEPEST) else text
    value = node._value()
    if value is None or isinstance(value, str):
        return value  # also for `???`, a missing value
    if hasattr(value, "_value"):
        return _plain(value, root)  # of a field with several types
    if isinstance(node, DictConfig):
        return {str(name): _plain(node._get_node(name), root) for name in node.keys()}  # noqa: SIM118
    if isinstance(node, ListConfig):
        return [_plain(node._get_node(place), root) for place in range(len(node))]
    return value


def _resolved(node: Any) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        found = node._dereference_node()
    except (OmegaConfBaseException, KeyError, ValueError):
        return str(node._value())  # it cannot be resolved; the program finds out if it reads it
    if OmegaConf.is_config(found):
        return OmegaConf.to_container(found, resolve=not _has_foreign(found))
    return found._value() if hasattr(found, "_value") else found


def _has_foreign(config: Any) -> bool:
    from omegaconf import OmegaConf

    text = str(OmegaConf.to_container(config, resolve=False))
    return any(name not in HARMLESS for name in RESOLVER.findall(text))


def _is_harmless(text: str, root: Any, depth: int) -> bool:
    """Whether resolving this text calls none of the program's own code, directly or through other interpolations."""
    if any(name not in HARMLESS for name in RESOLVER.findall(text)) or depth == 0:
        return False
    for path in re.findall(r"\$\{([\w.]+)\}", text):
        node = root
        for step in path.split("."):
            node = node._get_node(step) if hasattr(node, "_get_node") and step else None
        if not hasattr(node, "_is_interpolation"):
            return not _has_foreign(root)  # a relative path, or one through other interpolations
        if node._is_interpolation() and not _is_harmless(str(node._value()), root, depth - 1):
            return False
    return True
