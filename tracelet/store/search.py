"""What people type to find runs: words, `field:value` and comparisons, all of which must match; or one expression.

Used by `tracelet ls` and the dashboard, on any thread. Parsed, never executed; see `filtering` for expressions.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any

from tracelet.errors import FilterError
from tracelet.store.filtering import FIELDS, MAX_LENGTH, MISSING, Filter, Namespace

_LOGIC = re.compile(r"""\b(and|or|not|in)\b|[()\[\]]""")
_SIGN = re.compile(r"(<=|>=|==|!=|<|>)")
_SPACED_SIGN = re.compile(r"\s*(<=|>=|==|!=|<|>)\s*")
_WORD = re.compile(r"""(?:"[^"]*"|'[^']*'|\S)+""")
_GLOB = re.compile(r"[*?\[]")
_FIELD = re.compile(r"^([^:\s]+):(.*)$", re.DOTALL)
TEXTS = ("name", "id", "project")
"""Where a word is looked for, besides the tags."""
PARTS = ("name", "command", "host", "folder", "id")
"""Fields of which `field:value` takes a part; of the others it takes the whole."""
SHORT = {"tag": "tags", "param": "params", "metric": "metrics"}


class Term:
    """One word, or `field:value`."""

    def __init__(self, text: str) -> None:
        found = _FIELD.match(text)
        self.field = found[1] if found else ""
        self.wanted = (found[2] if found else text).casefold()
        self._glob = bool(_GLOB.search(self.wanted))

    def matches(self, run: Namespace) -> bool:
        """Whether the run has the word in its name, id, project or tags; or the field has the value."""
        if not self.field:
            words = [str(run.get(name, "")) for name in TEXTS] + _tags(run.get("tags", {}))
            return any(self._fits(word, part=True) for word in words) or run.get(self.wanted) is True
        if self.field in ("tag", "tags"):
            return any(self._fits(word, part=False) for word in _tags(run.get("tags", {})))
        if self.field in ("param", "metric"):
            return any(self._fits(name, part=False) for name in run.get(SHORT[self.field], {}))
        value = run.get(self.field, MISSING)
        return value is not MISSING and self._fits(str(value), part=self.field in PARTS)

    def _fits(self, word: str, part: bool) -> bool:
        word = word.casefold()
        if self._glob:
            return fnmatchcase(word, self.wanted)
        return self.wanted in word if part else self.wanted == word


class Search:
    """All of the terms, or one expression. `FilterError` when it is invalid; `names` are the names that it compares."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.terms: list[Term] = []
        self.filters: list[Filter] = []
        if not text.strip() or len(text) > MAX_LENGTH or _is_expression(text):
            self.filters.append(Filter(text))
            return
        words = _split(_SPACED_SIGN.sub(r"\1", text.strip()))
        for word in words:
            if _SIGN.search(word) and not re.match(r"^\w+:[^<>=!]", word):
                self.filters.append(Filter(text if len(words) == 1 else word))
            else:
                self.terms.append(Term(word))

    @property
    def names(self) -> set[str]:
        """The fields, parameters and metrics that are compared: lists show them."""
        return {name for each in self.filters for name in each.names}

    def matches(self, run: Namespace) -> bool:
        """Whether every term and every comparison is true of the run."""
        return all(term.matches(run) for term in self.terms) and all(each.matches(run) for each in self.filters)

    def check_names(self, known: Collection[str]) -> None:
        """FilterError, naming the nearest, when a name is not among those that any run has."""
        for each in self.filters:
            each.check_names(known)
        for term in self.terms:
            if term.field and term.field not in known and term.field not in SHORT:
                names = [*FIELDS, *SHORT, *known]
                near = difflib.get_close_matches(term.field, names, n=1, cutoff=0.5)
                hint = f"Did you mean {near[0]!r}?" if near else "Example: status:failed tag:vision"
                raise FilterError(f"no run has a field, parameter or metric named {term.field!r}. {hint}")


def _is_expression(text: str) -> bool:
    """Whether it is to be read as Python would read it: it compares something, or has `and`, `or`, `not`, brackets."""
    unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return bool(_LOGIC.search(unquoted)) and not _FIELD.match(text.split(maxsplit=1)[0])
    return any(
        isinstance(node, (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Subscript, ast.Call)) for node in ast.walk(tree)
    )


def _split(text: str) -> list[str]:
    """By spaces; quotes keep spaces in a word, and stay around what is compared."""
    words = [found[0] for found in _WORD.finditer(text)]
    return [word if _SIGN.search(word) else word.replace('"', "") or word for word in words]


def _tags(tags: Any) -> list[str]:
    """Each tag's name, its value, and both as `name=value`."""
    return [word for name, value in tags.items() for word in (str(name), str(value), f"{name}={value}")]
