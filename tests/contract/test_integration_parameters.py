"""What parsers and configuration libraries give to a program is recorded, with its source, and nothing else changes.

Each library runs its own example twice, without tracelet and with it: the results must be the same objects' texts, and
afterwards every function of the library must be the very one that it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet import registry
from tracelet.integrations.base import Integration
from tracelet.journal.records import Params
from tracelet.store.run import Run

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}
LIBRARIES = (
    "argparse",
    "click",
    "typer",
    "tyro",
    "simple_parsing",
    "absl",
    "fire",
    "jsonargparse",
    "omegaconf",
    "hydra",
)


@dataclasses.dataclass
class Options:
    """What a training may be told."""

    lr: float = 0.1
    """Learning rate."""
    hidden: int = 16
    """Width."""


def train(lr: float = 0.1, hidden: int = 16) -> str:
    """A training that is told by a command line."""
    return f"{lr} {hidden}"


def by_argparse() -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--hidden", type=int, default=16)
    return vars(parser.parse_args())


def by_click() -> Any:
    import click

    found: list[Any] = []

    @click.command()
    @click.option("--lr", type=float, default=0.1)
    @click.option("--hidden", default=16)
    def main(lr: float, hidden: int) -> None:
        found.append((lr, hidden))

    main(standalone_mode=False)
    return found


def by_typer() -> Any:
    import typer

    found: list[Any] = []
    app = typer.Typer(add_completion=False)

    @app.command()
    def main(lr: float = 0.1, hidden: int = 16) -> None:
        found.append((lr, hidden))

    app(standalone_mode=False)
    return found


def by_tyro() -> Any:
    import tyro

    return tyro.cli(Options)


def by_simple_parsing() -> Any:
    import simple_parsing

    return simple_parsing.parse(Options)


def by_absl() -> Any:
    from absl import flags

    values = flags.FLAGS
    if "lr" not in values:
        flags.DEFINE_float("lr", 0.1, "Learning rate.", module_name="train")
        flags.DEFINE_integer("hidden", 16, "Width.", module_name="train")
    values.unparse_flags()
    values(sys.argv)
    found = values.lr, values.hidden
    values["lr"].present = values["hidden"].present = 0
    return found


def by_fire() -> Any:
    import fire

    return fire.Fire(train, serialize=lambda result: "")


def by_jsonargparse() -> Any:
    import jsonargparse

    return jsonargparse.auto_cli(train)


def by_omegaconf() -> Any:
    from omegaconf import OmegaConf

    Path("config.yaml").write_text("lr: 0.1\nhidden: 16\n", encoding="utf-8")
    line = OmegaConf.from_cli([argument.removeprefix("--") for argument in sys.argv[1:]])
    return OmegaConf.to_container(OmegaConf.merge(OmegaConf.load("config.yaml"), line))


def by_hydra() -> Any:
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    found: list[Any] = []
    ConfigStore.instance().store(name="options", node=Options)

    @hydra.main(version_base=None, config_path=str(Path.cwd()), config_name="options")
    def main(config: Any) -> None:
        found.append((config.lr, config.hidden))

    sys.argv = ["train.py", "lr=0.02", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    main()
    GlobalHydra.instance().clear()
    return found


@pytest.fixture(autouse=True)
def _command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """`train.py --lr 0.02`."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr=0.02"])


def recorded(example: Callable[[], Any], **settings: Any) -> tuple[Any, Run]:
    """What the example returns, and the run that was recorded meanwhile."""
    with tracelet.start_logging("parsed", config={**SETTINGS, **settings}) as experiment:
        result = example()
    return result, tracelet.open_store().run(experiment.id)


def sources(run: Run) -> dict[str, str]:
    found: dict[str, str] = {}
    for view in run.views:
        for record in view.records(Params):
            found.update(dict.fromkeys(record.values, record.source))
    return found


def places(library: str) -> Iterator[tuple[str, Any]]:
    """Every attribute that the library's integration patches, with what stands there now."""
    integration: Integration = registry.load(registry.INTEGRATIONS[library])([], {})
    for patch in integration.patches():
        owner: Any = sys.modules.get(patch.module)
        *path, name = patch.target.split(".")
        for step in path:
            owner = getattr(owner, step, None)
        if owner is not None and name in vars(owner):
            yield f"{patch.module}.{patch.target}", vars(owner)[name]


@pytest.mark.parametrize("library", LIBRARIES)
def test_recorded_exactly(library: str) -> None:
    """The values that the program gets are the run's parameters, defaults too, with the library as their source."""
    _, run = recorded(globals()[f"by_{library}"])
    assert {"lr": 0.02, "hidden": 16}.items() <= run.params.items()
    assert {sources(run)[name] for name in ("lr", "hidden")} == {library}
    assert set(run.params) <= {"lr", "hidden"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_harmless(library: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The program gets the same values, prints the same, and finds every function as it was, signature included."""
    example = globals()[f"by_{library}"]
    without, printed = repr(example()), capfd.readouterr()
    before = dict(places(library))
    assert before, "nothing is patched: the library has other names than this version knows"
    signatures = {place: str(inspect.signature(getattr(raw, "__func__", raw))) for place, raw in before.items()}

    def while_recording() -> Any:
        now = dict(places(library))
        assert {place for place, raw in now.items() if raw is before[place]} == set()
        inside = {place: str(inspect.signature(getattr(raw, "__func__", raw))) for place, raw in now.items()}
        assert inside == signatures
        sys.argv = ["train.py", "--lr=0.02"]
        return example()

    result, _ = recorded(while_recording)
    assert repr(result) == without
    assert capfd.readouterr() == printed
    assert dict(places(library)) == before


@pytest.mark.parametrize("library", LIBRARIES)
def test_switched_off(library: str) -> None:
    """With `track_NAME` off, nothing of the library is recorded and nothing is patched."""
    before = dict(places(library))
    off: dict[str, Any] = {f"track_{library}": False}
    _, run = recorded(globals()[f"by_{library}"], **off)
    assert library not in sources(run).values()
    assert all(raw is dict(places(library))[place] for place, raw in before.items())


def test_the_users_values_come_first() -> None:
    """What `log_params()` says keeps its name, whoever says otherwise before or after; nothing is lost."""

    def example() -> None:
        by_argparse()
        tracelet.get_active_experiment().log_params({"lr": 0.5})  # type: ignore[union-attr]
        by_argparse()

    _, run = recorded(example)
    assert run.params == {"lr": 0.5, "argparse/lr": 0.02, "hidden": 16}


def test_a_secret_is_masked() -> None:
    """What a command line names as a key is not written down."""

    def example() -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--api-key", default="sk-hush")
        parser.parse_known_args(["--other"])

    _, run = recorded(example)
    assert run.params == {"api_key": "***"}


def test_parsers_of_libraries_are_left_alone() -> None:
    """A parser that a library uses for itself is no parameter of the program."""
    source = "import argparse\ndef parse():\n    parser = argparse.ArgumentParser()\n    parser.add_argument('--mine')\n    return parser.parse_args([])\n"  # noqa: E501
    folder = Path("site-packages")
    folder.mkdir()
    (folder / "library_with_parser.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, str(folder.absolute()))
    try:
        _, run = recorded(lambda: importlib.import_module("library_with_parser").parse())
    finally:
        sys.path.remove(str(folder.absolute()))
        sys.modules.pop("library_with_parser", None)
    assert run.params == {}


def test_a_resolver_of_the_program_is_not_called() -> None:
    """Interpolations are resolved; one that calls the program's own resolver stays as written, for it may count."""
    from omegaconf import OmegaConf

    calls: list[int] = []

    def count() -> int:
        calls.append(1)
        return len(calls)

    OmegaConf.register_new_resolver("count_calls", count, replace=True)

    def example() -> None:
        Path("config.yaml").write_text(
            "lr: 0.1\nsame: ${lr}\nturn: ${count_calls:}\nthrough: ${turn}\nsizes: [1, 2]\nmissing: ???\n",
            encoding="utf-8",
        )
        OmegaConf.load("config.yaml")

    _, run = recorded(example)
    assert calls == []
    assert run.params == {
        "lr": 0.1, "same": 0.1, "turn": "${count_calls:}", "through": "${turn}", "sizes": "[1, 2]", "missing": "???",
    }  # fmt: skip


def test_subcommands_of_click() -> None:
    """A group and its subcommand are one command line; the subcommand's name is a parameter."""
    import click

    @click.group()
    @click.option("--verbose", default=1)
    def main(verbose: int) -> None:
        pass

    @main.command()
    @click.option("--lr", default=0.1)
    def fit(lr: float) -> None:
        pass

    _, run = recorded(lambda: main(["fit", "--lr", "0.3"], standalone_mode=False))
    assert run.params == {"verbose": 1, "lr": 0.3, "command": "fit"}


def test_a_function_of_tyro_is_recorded_before_it_runs() -> None:
    """`tyro.cli(function)` may train for days: its arguments are recorded when they are known."""
    import tyro

    seen: list[Any] = []

    def main(options: Options, epochs: int = 3) -> None:
        experiment = tracelet.get_active_experiment()
        assert experiment is not None
        experiment.flush()
        seen.append(dict(tracelet.open_store().run(experiment.id).params))

    recorded(lambda: tyro.cli(main, args=["--options.lr", "0.3"]))
    assert seen[0].pop("options/class").endswith(".Options")
    assert seen == [{"options/lr": 0.3, "options/hidden": 16, "epochs": 3}]


def test_a_program_that_imports_clearml_is_recorded_too() -> None:
    """ClearML wraps the parser when it is imported; the program calls through its wrapper."""
    import clearml  # noqa: F401

    _, run = recorded(by_argparse)
    assert {"lr": 0.02, "hidden": 16}.items() <= run.params.items()
