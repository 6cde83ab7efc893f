"""The project keeps its own promises: what is public, what an import costs, what is documented, and the house rules."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import tracelet
from tracelet import registry
from tracelet.journal.column_packing import COMPRESSED, FLOAT_CODES, INTEGER_CODES
from tracelet.journal.records import KINDS
from tracelet.settings import TABLE
from tracelet.store.run import Run
from tracelet.store.run_info import RunInfo
from tracelet.store.series import Series

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "tracelet").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HEAVY = {
    "aim", "clearml", "lightning", "lightning_fabric", "mlflow", "nicegui", "numpy", "opentelemetry", "pandas",
    "pyarrow", "pytorch_lightning", "scipy", "sklearn", "tensorboard", "tensorboardX", "torch", "wandb",
}  # fmt: skip
SDKS = {
    "aim": ("aim",), "clearml": ("clearml",), "mlflow": ("mlflow",), "opentelemetry": ("otlp", "otel_spans"),
    "tensorboard": ("tensorboard",), "wandb": ("wandb",),
}  # fmt: skip
"""Each SDK with the file or folder that owns it; OpenTelemetry's spans are what two backends make of ours."""
LONGEST_FILE, LONGEST_FUNCTION = 300, 40


def relative(path: Path) -> str:
    """How a path of this project is told in the message of a failing test."""
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a file, inner ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def modules_imported_by(code: str) -> set[str]:
    """The top-level packages that a fresh Python has imported after running the code."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    names = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+([\w.]+)$", done.stderr, re.MULTILINE)
    assert "tracelet" in names  # the format of -X importtime is the one that is read here
    return {name.partition(".")[0] for name in names}


def test_all_names_exactly_what_is_public() -> None:
    """`__all__` is what the module defines or re-exports for users: every name exists, and no definition is missing."""
    assert [name for name in tracelet.__all__ if not hasattr(tracelet, name)] == []
    defined = {
        name for name, value in vars(tracelet).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == "tracelet"
    }  # fmt: skip
    assert defined <= set(tracelet.__all__)
    assert len(set(tracelet.__all__)) == len(tracelet.__all__)


def test_public_names_are_documented() -> None:
    """Every public function and class has a docstring, and so has every public method of the handle."""
    undocumented = [
        name for name in tracelet.__all__ if not name.startswith("__") and not getattr(tracelet, name).__doc__
    ]
    undocumented += [
        name for name, value in vars(tracelet.Experiment).items() if not name.startswith("_") and not value.__doc__
    ]
    assert undocumented == []


def test_importing_loads_nothing_heavy() -> None:
    """`import tracelet` imports neither torch, numpy, Lightning nor any SDK."""
    assert modules_imported_by("import tracelet") & HEAVY == set()


def test_recording_a_plain_program_loads_nothing_heavy() -> None:
    """A program without torch and numpy that logs numbers has neither afterwards."""
    code = (
        "import tracelet; tracelet.start_logging('plain', config={'quiet': True}); "
        "tracelet.log({'loss': 0.5}); tracelet.stop_logging()"
    )
    assert modules_imported_by(code) & HEAVY == set()


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Every package that is imported by its top-level name, and whether that happens inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0], inside
        yield from imports(node, inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def test_heavy_packages_are_imported_inside_functions() -> None:
    """No module of the product imports torch, numpy, Lightning or an SDK when it is imported itself."""
    scripts = {"tracelet/cli/demo_training.py"}  # run as a program of its own, never imported
    eager = [
        f"{relative(path)}: {name}"
        for path in PRODUCT
        for name, inside in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name in HEAVY and not inside and relative(path) not in scripts
        if not (name == "numpy" and path.is_relative_to(ROOT / "tracelet" / "importers"))  # loaded by `tracelet import`
        if not (name == "nicegui" and path.is_relative_to(ROOT / "tracelet" / "ui" / "pages"))  # loaded by the server
    ]
    assert eager == []


def test_an_sdk_is_imported_in_one_place() -> None:
    """Each tracking SDK is imported by the plug-in that owns it: one file, or one folder."""
    strangers = [
        f"{relative(path)}: {name}"
        for path in PRODUCT
        for name, _ in imports(ast.parse(path.read_text(encoding="utf-8")))
        if name in SDKS and not {path.stem, path.parent.name} & set(SDKS[name])
    ]
    assert strangers == []


def test_version_is_the_installed_one() -> None:
    """The package's version and the distribution's are one."""
    assert tracelet.__version__ == importlib.metadata.version("tracelet")


@pytest.mark.parametrize("name", ["INTEGRATIONS", "COLLECTORS", "FACT_COLLECTORS", "BACKENDS"])
def test_registry_rows_lead_somewhere(name: str) -> None:
    """Every built-in plug-in named in the registry can be loaded."""
    rows = getattr(registry, name, {})
    assert all(callable(registry.load(reference)) for reference in rows.values())


def test_constraints_pin_every_direct_dependency() -> None:
    """What the demo and the tests install directly has its version in constraints.txt, torch the promised one."""
    pinned = {
        re.split(r"[=<;]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    extras = PROJECT["optional-dependencies"]
    tested = [name for name in extras if name not in ("all", "ui", "floor")]
    direct = [*PROJECT["dependencies"], *(requirement for name in tested for requirement in extras[name])]
    names = {re.split(r"[\[><=;]", requirement)[0].strip().lower() for requirement in direct}
    assert names - pinned - {"tracelet", "tomli"} == set()
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def test_torch_is_no_dependency() -> None:
    """tracelet observes the torch that is there, and installs without one."""
    assert not [requirement for requirement in PROJECT["dependencies"] if requirement.startswith("torch")]


def test_no_package_index_is_named() -> None:
    """Where packages come from is the machine's business: no file of the build names an index."""
    files = ["pyproject.toml", "constraints.txt", "constraints-floor.txt", "Makefile", ".ci/run"]
    named = [name for name in files if re.search(r"index-url|find-links|https?://", (ROOT / name).read_text("utf-8"))]
    assert named == []


def hooks() -> ModuleType:
    """`docs/hooks.py`, which mkdocs loads by its path."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rendered(page: str) -> str:
    """A page of the documentation, as it is in the repository."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


def test_generated_parts_of_the_docs_are_current() -> None:
    """Every table between markers equals what the code says now; if this fails, type `make tables`."""
    pages, fill = sorted((ROOT / "docs").rglob("*.md")), hooks().filled
    stale = [relative(page) for page in pages if fill(text := page.read_text(encoding="utf-8")) != text]
    assert stale == []
    begun = {name for page in pages for name in re.findall(r"<!-- begin ([\w ]+):", page.read_text(encoding="utf-8"))}
    assert begun == set(hooks().PARTS)


def test_every_setting_is_documented() -> None:
    """The settings page has each setting with its variable, its default and what it does."""
    page = rendered("settings.md")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [setting.name for setting in TABLE]
    assert all(setting.variable in page and setting.doc in page for setting in TABLE)


def test_every_command_is_documented() -> None:
    """The command line's page has each command with all its options."""
    import click

    from tracelet.cli import main

    page = rendered("cli.md")
    context = click.Context(main, **main.context_settings)
    missing = []
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        missing += [f"tracelet {name}"] if f"## tracelet {name}\n" not in page else []
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        missing += [f"{name} {option}" for option in options if option not in page]
    assert missing == []


def test_the_reader_is_documented() -> None:
    """The page about reading has every public attribute of runs and series, and every field of a run's info."""
    page = re.sub(r"```.*?```", "", rendered("reading.md"), flags=re.DOTALL)
    names = [name for kind in (Run, Series) for name in dir(kind) if not name.startswith("_")]
    names += [*Series.__dataclass_fields__, *RunInfo.__dataclass_fields__]
    inner = {"path", "views", "segments", "name", "reduce", "automatic"}  # for the code around them
    inner |= {"remark"}  # an old name
    words = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    assert sorted(set(names) - inner - words) == []


def templates() -> Iterator[str]:
    """Every text in the product's code, with `...` where an f-string has a value."""
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (str(part.value) if isinstance(part, ast.Constant) else "..." for part in node.values)
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_messages_in_troubleshooting_exist() -> None:
    """Every message that the page explains is one that the code can say, word by word."""
    messages = re.findall(r'^\*\*"(.+)"\*\*$', rendered("troubleshooting.md"), re.MULTILINE)
    assert len(messages) > 5
    known = "\n".join(templates())
    pieces = [piece.strip() for message in messages for piece in message.split("...") if len(piece) > 3]
    assert [piece for piece in pieces if piece not in known] == []


def test_the_journal_is_documented() -> None:
    """The page about the journal has every kind of record with its number, and every code of a column."""
    page = rendered("internals/journal.md")
    assert [name for number, name in KINDS.items() if f"| {number} | `{name.__name__}` |" not in page] == []
    codes = {*INTEGER_CODES, *FLOAT_CODES, COMPRESSED}
    assert sorted(code for code in codes if f"`{code}`" not in page) == []


def test_every_decision_is_listed() -> None:
    """The index of decisions links every record."""
    page = rendered("decisions/index.md")
    records = [path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")]
    assert [name for name in records if f"({name})" not in page] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_of_the_front_pages_lead_somewhere(name: str) -> None:
    """Every relative link in the pages that mkdocs does not check names a file that exists."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_tests_say_what_they_state() -> None:
    """Every test function has a docstring of one sentence."""
    silent = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in TESTS
        for node in ast.parse(path.read_text(encoding="utf-8")).body  # deeper ones are Lightning's: test_step, ...
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if not (ast.get_docstring(node) or "").endswith((".", "!", "`"))
    ]
    assert silent == []


def test_modules_say_what_they_are() -> None:
    """Every module of the product begins with a docstring."""
    silent = [relative(path) for path in PRODUCT if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_files_and_functions_are_short() -> None:
    """No file of the product is longer than 300 lines, no function longer than 40."""
    long = [relative(path) for path in PRODUCT if path.read_text(encoding="utf-8").count("\n") > LONGEST_FILE]
    long += [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in PRODUCT
        for node in functions(path)
        if (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []
