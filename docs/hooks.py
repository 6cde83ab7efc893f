"""Fills in what the documentation must not say by hand: the settings, the commands, and the list of decisions.

Called by mkdocs while it builds a page, and by tests/unit/test_project.py. A page asks for a part with a comment:
`<!-- settings -->`, `<!-- commands -->` or `<!-- decisions -->`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tracelet.registry import BACKENDS

DOCS = Path(__file__).parent


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Mkdocs calls this for every page; the result is what it renders."""
    for name, fill in PARTS.items():
        mark = f"<!-- {name} -->"
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(fill()))
    return markdown


def settings() -> Iterator[str]:
    """One table row for each setting."""
    from tracelet.settings import TABLE

    yield "| setting | default | environment | what it does |"
    yield "|---|---|---|---|"
    for row in TABLE:
        default = "*(empty)*" if row.default == "" else f"`{str(row.default).lower()}`"
        yield f"| `{row.name}` | {default} | `{row.variable}` | {row.doc} |"


def commands() -> Iterator[str]:
    """One section for each command, as `--help` tells it."""
    import click

    from tracelet.cli import main

    context = click.Context(main, info_name="tracelet", **main.context_settings)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, parent=context, info_name=name)
        yield f"## tracelet {name}\n"
        yield f"```text\n{command.get_help(inner)}\n```\n"


def decisions() -> Iterator[str]:
    """One line for each decision record, by number."""
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ").strip()
        yield f"- [{title}]({path.name})"


def options(name: str, reference: str) -> Iterator[str]:
    """One table row for each option of a backend: name, default, and the text below it in the source."""
    path = DOCS.parent / (reference.partition(":")[0].replace(".", "/") + ".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef) or node.name != f"{name.capitalize()}Options":
            continue
        yield "| option | default | what it does |"
        yield "|---|---|---|"
        for field, text in zip(node.body, node.body[1:]):
            if isinstance(field, ast.AnnAssign) and field.value is not None and isinstance(text, ast.Expr):
                shown = ast.unparse(field.value).replace("''", "") or "*(empty)*"
                told = " ".join(str(ast.literal_eval(text.value)).split())
                yield f"| `{ast.unparse(field.target)}` | {shown} | {told} |"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "commands": commands,
    "decisions": decisions,
    **{f"options {name}": partial(options, name, reference) for name, reference in BACKENDS.items()},
}
