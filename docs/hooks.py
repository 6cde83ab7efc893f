"""Writes the parts of the documentation that come from the code: commands, settings, options, tables of SQL, decisions.

`make tables` runs this file, which rewrites the pages; mkdocs calls it for every page that it builds; a test in
tests/unit/test_project.py compares the pages with the code. A generated part of a page is between two comments:

    <!-- begin settings: written by `make tables` -->
    <!-- end settings -->
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tracelet.registry import BACKENDS

DOCS = Path(__file__).parent
PART = re.compile(r"(?ms)^(<!-- begin ([\w ]+): [^\n]* -->\n).*?^(<!-- end \2 -->)$")
WIDTH = 80
"""Columns of the help texts in the pages, whatever the terminal has."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Mkdocs calls this for every page; the result is what it renders."""
    return filled(markdown)


def filled(markdown: str) -> str:
    """The page with its generated parts written anew."""

    def write(found: re.Match[str]) -> str:
        return found[1] + "\n" + "\n".join(PARTS[found[2]]()).rstrip("\n") + "\n\n" + found[3]

    return PART.sub(write, markdown)


def rewrite() -> None:
    """Write the generated parts of all pages, and name the pages that changed."""
    for page in sorted(DOCS.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(page.relative_to(DOCS.parent))  # noqa: T201  a script's output


def settings() -> Iterator[str]:
    """One table row for each setting."""
    from tracelet.settings import TABLE

    yield "| setting | default | environment variable | description |"
    yield "|---|---|---|---|"
    for row in TABLE:
        default = "*(empty)*" if row.default == "" else f"`{str(row.default).lower()}`"
        yield f"| `{row.name}` | {default} | `{row.variable}` | {row.doc} |"


def commands() -> Iterator[str]:
    """One section for each command: its `--help`."""
    import click

    from tracelet.cli import main

    context = click.Context(main, info_name="tracelet", terminal_width=WIDTH, **main.context_settings)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, parent=context, info_name=name, terminal_width=WIDTH)
        yield f"## tracelet {name}\n"
        yield f"```text\n{command.get_help(inner)}\n```\n"
        for part, nested in command.commands.items() if isinstance(command, click.Group) else ():
            innermost = click.Context(nested, parent=inner, info_name=part, terminal_width=WIDTH)
            yield f"### tracelet {name} {part}\n"
            yield f"```text\n{nested.get_help(innermost)}\n```\n"


def tables() -> Iterator[str]:
    """One section for each table that SQL sees."""
    from tracelet.store.sql.tables import TABLES

    for name, table in TABLES.items():
        yield f"### {name}\n"
        yield "| column | type | content |"
        yield "|---|---|---|"
        yield from (f"| `{column.name}` | {column.type} | {column.doc} |" for column in table.columns)
        yield ""


def decisions() -> Iterator[str]:
    """One line for each decision record, by number."""
    for path in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ").strip()
        yield f"- [{title}]({path.name})"


def options(name: str, reference: str) -> Iterator[str]:
    """One table row for each option of a backend: name, default, and the text below it in the source."""
    path = DOCS.parent / (reference.partition(":")[0].replace(".", "/") + ".py")
    beside = path.with_name("options.py")
    path = beside if beside.exists() else path
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef) or node.name != f"{name.capitalize()}Options":
            continue
        yield "| option | default | description |"
        yield "|---|---|---|"
        for field, text in zip(node.body, node.body[1:]):
            if isinstance(field, ast.AnnAssign) and field.value is not None and isinstance(text, ast.Expr):
                default = ast.unparse(field.value).strip("'")
                shown = f"`{default}`" if default else "*(empty)*"
                meaning = " ".join(str(ast.literal_eval(text.value)).split())
                yield f"| `{ast.unparse(field.target)}` | {shown} | {meaning} |"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "commands": commands,
    "tables": tables,
    "decisions": decisions,
    **{f"options {name}": partial(options, name, reference) for name, reference in BACKENDS.items()},
}

if __name__ == "__main__":
    rewrite()
