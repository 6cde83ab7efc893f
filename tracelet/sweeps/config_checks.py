"""Collects what is wrong with a configuration, each with its line and the nearest right word. Pure.

Used by the readers of the parts of a sweep's configuration. All problems are reported at once, as one `SweepError`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.errors import SweepError
from tracelet.sweeps.config_document import ConfigDocument, Place

NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
"""YAML 1.1 takes `1e-3` for a string because it has no point; where only a number makes sense, it is one."""


def nearest(word: object, known: Iterable[str]) -> str:
    """A hint that names the closest known word, or all of them."""
    words = list(known)
    near = difflib.get_close_matches(str(word).lower(), words, n=1, cutoff=0.5)
    return f"Did you mean {near[0]!r}?" if near else "Known: " + ", ".join(words) + "."


class Checks:
    """The problems of one configuration."""

    def __init__(self, document: ConfigDocument) -> None:
        self._document = document
        self.problems: list[str] = []

    def problem(self, place: Place, message: str) -> None:
        """Note a problem at this place."""
        self.problems.append(self._document.describe(place) + message)

    def finish(self) -> None:
        """SweepError with all problems, if there are any."""
        if self.problems:
            raise SweepError("\n".join(self.problems))

    def mapping(self, place: Place, value: Any, example: str) -> Mapping[str, Any]:
        """The value if it is a mapping of names; otherwise a problem and an empty mapping."""
        if not isinstance(value, Mapping):
            self.problem(place, f"`{_name(place)}` must be a mapping, not {value!r}. E.g. {example}")
            return {}
        for key in value:
            if not isinstance(key, str):
                self.problem(place, f"the name {key!r} in `{_name(place)}` is not a string. Put it in quotes")
        return {key: item for key, item in value.items() if isinstance(key, str)}

    def known_keys(self, place: Place, given: Iterable[str], known: Iterable[str], what: str) -> None:
        """A problem for each key that is not known."""
        words = list(known)
        for key in given:
            if key not in words:
                self.problem((*place, key), f"{what} has no key {key!r}. {nearest(key, words)}")

    def choice(self, place: Place, value: Any, known: Iterable[str]) -> str:
        """The value if it is one of these words."""
        words = list(known)
        if not isinstance(value, str) or value not in words:
            self.problem(place, f"`{_name(place)}: {value}` is unknown. {nearest(value, words)}")
            return words[0]
        return value

    def number(self, place: Place, value: Any, default: float = 0.0) -> Any:
        """The value as an int or a float; a string that spells a number is one."""
        if isinstance(value, str) and NUMBER.fullmatch(value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.problem(place, f"`{_name(place)}` must be a number, not {value!r}")
            return default
        return value

    def whole(self, place: Place, value: Any, minimum: int | None = None, default: int = 1) -> int:
        """The value if it is an integer, and not below the minimum."""
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(place, f"`{_name(place)}` must be an integer, not {value!r}")
            return default
        if minimum is not None and value < minimum:
            self.problem(place, f"`{_name(place)}` must be at least {minimum}, not {value}")
            return default
        return value

    def string(self, place: Place, value: Any) -> str:
        """The value if it is a string."""
        if not isinstance(value, str):
            self.problem(place, f"`{_name(place)}` must be a string, not {value!r}")
            return ""
        return value


def _name(place: Place) -> str:
    return str(place[-1]) if place else "the configuration"
