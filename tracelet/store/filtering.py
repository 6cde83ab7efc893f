"""Filter expressions over runs, such as `lr < 0.01 and status == "finished"`: parsed, checked, never executed.

Used by `tracelet ls` and the dashboard, on any thread. Python's parser makes the tree; only what is listed here is
evaluated: names, strings, numbers, comparisons, `and or not`, `in`, arithmetic on numbers, and tables such as
`metrics[...]`. No call, no attribute, no power: an expression from anywhere may be evaluated.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tracelet import guard
from tracelet.errors import FilterError
from tracelet.journal.records import MetricSummary
from tracelet.store import dates
from tracelet.store.run import Run
from tracelet.store.run_info import RunInfo

MAX_LENGTH = 2000
"""Characters; nobody types more, and the parser's memory grows with it."""
MAX_DEPTH = 60
"""Levels of nesting; evaluation recurses."""

TABLES = ("metrics", "min", "max", "params", "tags")
"""Names that take a quoted name: the last value, the min and the max of a metric, a parameter, a tag."""
RENAMED_TABLES = {"least": "min", "greatest": "max"}
"""Old names of tables, which still work."""
EXAMPLE = """Example: lr < 0.01 and status == "finished", or metrics["val/loss"] < 0.2"""
QUOTED_NAMES = """Write names that contain / or - as metrics["val/loss"] or params["optimizer/0/lr"]."""
FIELDS = (
    "id",
    "name",
    "project",
    "status",
    "host",
    "folder",
    "command",
    "world_size",
    "started",
    "duration",
    "age",
    "pinned",
    "archived",
)
"""What every run has: `started` as text (2026-01-31 12:00:00, local), `duration` and `age` in seconds."""

TEXT_FIELDS = ("id", "name", "project", "status", "host", "folder", "command", "started")
JOINED = re.compile(r"[A-Za-z_][\w.]*(?:[/-][\w.]+)+")

Namespace = Mapping[str, Any]
Evaluator = Callable[[Namespace], Any]


class _Missing:
    """What a run does not have: equal to nothing, less than nothing, and false."""

    def __bool__(self) -> bool:
        return False


MISSING = _Missing()

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.In: lambda item, of: item in of, ast.NotIn: lambda item, of: item not in of,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


class Filter:
    """One expression. `FilterError` when it is invalid; `names` are the bare names in it."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.names: set[str] = set()
        self._joined: dict[str, set[str]] = {}
        """Names such as `val/loss`, written without spaces, and the names in them."""
        self._beside_text: dict[str, str] = {}
        """Bare names that are compared with a field that holds text, and that field."""
        self._alone: set[str] = set()
        """Names in arithmetic with spaces, which are never parts of a longer name."""
        self._evaluate = self._compiled(self._parsed(expression), 0)

    def matches(self, run: Namespace) -> bool:
        """Whether the expression is true of a run: bare names and the tables of `TABLES` are looked up in `run`."""
        return bool(self._evaluate(run))

    def check_names(self, known: Collection[str]) -> None:
        """FilterError, naming the nearest, when a bare name is not among those that any run has."""
        for joined, parts in self._joined.items():
            if joined in known:
                self.names -= parts - self._alone
                self.names.add(joined)
        for name in sorted(self.names.difference(known)):
            if name in self._beside_text:
                raise FilterError(f'{name} is a string here: put it in quotes, {self._beside_text[name]} == "{name}"')
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"Did you mean {near[0]!r}?" if near else f'Put strings in quotes: "{name}".'
            if re.search(rf"\w[/-]{re.escape(name)}|{re.escape(name)}[/-]\w", self.expression):
                hint = QUOTED_NAMES
            raise FilterError(
                f"no run has a field, parameter or metric named {name!r} (in {self.expression!r}). {hint}"
            )

    def _parsed(self, expression: str) -> ast.expr:
        if not expression.strip() or len(expression) > MAX_LENGTH:
            raise FilterError(f"a filter has 1 to {MAX_LENGTH} characters. {EXAMPLE}")
        try:
            return ast.parse(expression.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            what = error.msg if isinstance(error, SyntaxError) else str(error)
            raise FilterError(f"the filter {expression!r} cannot be parsed: {what}. {EXAMPLE}") from None

    def _compiled(self, node: ast.expr, depth: int) -> Evaluator:
        if depth > MAX_DEPTH:
            raise self._refused("nesting this deep")
        within = depth + 1
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool, type(None))):
            constant = node.value
            return lambda run: constant
        if isinstance(node, ast.Name):
            return self._name(node.id)
        if isinstance(node, ast.Subscript):
            return self._entry(node)
        if isinstance(node, ast.BoolOp):
            return _logical(isinstance(node.op, ast.And), [self._compiled(part, within) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            operand = self._compiled(node.operand, within)
            return (
                (lambda run: not operand(run)) if isinstance(node.op, ast.Not) else (lambda run: _minus(operand(run)))
            )
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            items = [self._compiled(item, within) for item in node.elts]
            return lambda run: [item(run) for item in items]
        if isinstance(node, ast.Compare):
            return self._comparison(node, within)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            return self._calculation(node, within)
        raise self._refused(f"`{ast.unparse(node)}`")

    def _refused(self, what: str) -> FilterError:
        hint = QUOTED_NAMES if "/" in self.expression or "-" in self.expression else EXAMPLE
        return FilterError(f"a filter cannot contain {what}: it compares fields, parameters and metrics. {hint}")

    def _name(self, name: str) -> Evaluator:
        if name in TABLES:
            raise self._refused(f'`{name}` alone (write {name}["NAME"])')
        self.names.add(name)
        return lambda run: run.get(name, MISSING)

    def _entry(self, node: ast.Subscript) -> Evaluator:
        key = node.slice.value if isinstance(node.slice, ast.Constant) else None
        name = node.value.id if isinstance(node.value, ast.Name) else ""
        table = RENAMED_TABLES.get(name, name)
        if table not in TABLES or not isinstance(key, str):
            raise self._refused(f"`{ast.unparse(node)}` (tables are {', '.join(TABLES)}, with a quoted name)")
        if table != name:
            guard.renamed(f"{name}[...]", f"{table}[...]")
        return lambda run: run.get(table, {}).get(key, MISSING)

    def _calculation(self, node: ast.BinOp, depth: int) -> Evaluator:
        """Arithmetic; without spaces it is the name of a metric or parameter where a run has one of that name."""
        outside, self.names = self.names, set()
        before = set(self._joined)
        left, right = self._compiled(node.left, depth), self._compiled(node.right, depth)
        parts, self.names = self.names, outside | self.names
        calculate = _arithmetic(ARITHMETIC[type(node.op)], left, right)
        joined = (ast.get_source_segment(self.expression.strip(), node) or "").strip()
        if not JOINED.fullmatch(joined):
            self._alone |= parts.difference(*(self._joined[name] for name in self._joined.keys() - before))
            return calculate
        self._joined[joined] = parts
        return lambda run: run[joined] if joined in run else calculate(run)

    def _comparison(self, node: ast.Compare, depth: int) -> Evaluator:
        sides = (node.left, *node.comparators)
        operands = [self._compiled(operand, depth) for operand in sides]
        bare = [side.id for side in sides if isinstance(side, ast.Name)]
        self._beside_text |= {name: field for field in bare if field in TEXT_FIELDS for name in bare if name != field}
        if any(type(sign) not in COMPARISONS for sign in node.ops):
            raise self._refused("`is` (write == or !=)")
        signs = [COMPARISONS[type(sign)] for sign in node.ops]

        def compare(run: Namespace) -> bool:
            values = [operand(run) for operand in operands]
            return all(_compare(sign, left, right) for sign, left, right in zip(signs, values, values[1:]))

        return compare


def _logical(every: bool, parts: list[Evaluator]) -> Evaluator:
    if every:
        return lambda run: all(part(run) for part in parts)
    return lambda run: any(part(run) for part in parts)


def _compare(sign: Callable[[Any, Any], Any], left: Any, right: Any) -> bool:
    """Whether it holds; what a run does not have, and kinds that have no order, compare as false."""
    if left is MISSING or right is MISSING:
        return False
    try:
        return bool(sign(left, right))
    except TypeError:
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _minus(value: Any) -> Any:
    return -value if _is_number(value) else MISSING


def _arithmetic(apply: Callable[[Any, Any], Any], left: Evaluator, right: Evaluator) -> Evaluator:
    def calculate(run: Namespace) -> Any:
        first, second = left(run), right(run)
        if not (_is_number(first) and _is_number(second)):
            return MISSING
        try:
            return apply(first, second)
        except (ZeroDivisionError, OverflowError):
            return MISSING

    return calculate


def namespace(
    run: Run, info: RunInfo | None = None, summaries: Mapping[str, MetricSummary] | None = None
) -> dict[str, Any]:
    """What a filter sees of a run: fields first, then parameters, then last values of metrics, and the tables.

    `info`, `summaries`: the run's, where the caller has them already.
    """
    info, params = info or run.info, run.params
    summaries = run.summaries() if summaries is None else summaries
    last = {name: summary.last for name, summary in summaries.items()}
    fields = {name: getattr(info, name) for name in FIELDS if name not in ("age", "started", "command")}
    return {
        **last, **params, **fields,
        "command": " ".join(info.command),
        "started": dates.format_local(info.started),
        "age": time.time() - info.started,
        "metrics": last, "params": params, "tags": run.tags,
        "min": {name: summary.min for name, summary in summaries.items()},
        "max": {name: summary.max for name, summary in summaries.items()},
    }  # fmt: skip
