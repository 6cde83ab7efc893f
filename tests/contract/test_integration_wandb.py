"""What a program gives to wandb itself is recorded as wandb's own file has it, and wandb stores what it did before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.programs import logged, recorded_run, with_and_without
from tracelet import registry
from tracelet.backends.wandb.offline_file import OfflineFile

PROGRAM = """
os.environ.update(WANDB_SILENT="true", WANDB_DISABLE_GIT="true", WANDB_DISABLE_CODE="true", WANDB_CONSOLE="off")
os.environ["WANDB_RUN_ID"] = "fixed"
import wandb
run = wandb.init(project="p", name="first", config={{"lr": 0.1, "opt": {{"name": "adam"}}}}, mode={mode!r}, dir=".")
for step in range(20):
    wandb.log({{"loss": 1 / (step + 1), "nested": {{"a": step}}}})
run.log({{"open": 1.5}}, commit=False)
run.log({{"closed": numpy.float32(2.5)}})
run.log({{"jump": 3}}, step=50)
wandb.log({{"after": 4}})
wandb.config.update({{"late": True}})
wandb.finish()
told["config"] = sorted(dict(run.config))
"""


def _rows(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """Step and entries of each row in the one offline file below the folder."""
    (path,) = folder.rglob("*.wandb")
    return [(step, {n: v for n, v in row.items() if not n.startswith("_")}) for step, row in OfflineFile(path).rows()]


@pytest.mark.slow
def test_an_offline_program_is_the_same_with_us_and_recorded_as_its_own_file_has_it(tmp_path: Path) -> None:
    """Both files hold the same rows; every entry is a point at wandb's own step."""
    bare, recorded = with_and_without(PROGRAM.format(mode="offline"), tmp_path)
    for each in (bare, recorded):
        each["files"] = sorted(set(each["files"]))
    assert recorded == bare
    rows = _rows(tmp_path / "recorded")
    assert rows == _rows(tmp_path / "bare")
    expected: dict[str, list[tuple[int, float]]] = {}
    for step, row in rows:
        for name, value in row.items():
            nested = value.items() if isinstance(value, dict) else ()
            for key, number in [(f"{name}.{inner}", one) for inner, one in nested] or [(name, value)]:
                expected.setdefault(key, []).append((step, number))
    run = recorded_run(tmp_path)
    assert logged(run) == expected
    assert (run.params["lr"], run.params["opt/name"], run.params["late"]) == (0.1, "adam", True)


@pytest.mark.slow
def test_a_disabled_program_is_recorded_all_the_same(tmp_path: Path) -> None:
    """wandb drops everything with `mode="disabled"`; the steps are those that it would have given."""
    bare, recorded = with_and_without(PROGRAM.format(mode="disabled"), tmp_path)
    assert recorded == bare
    found = logged(recorded_run(tmp_path))
    assert found["loss"] == [(step, 1 / (step + 1)) for step in range(20)]
    assert [found[name] for name in ("open", "closed", "jump", "after")] == [
        [(20, 1.5)], [(20, 2.5)], [(50, 3.0)], [(50, 4.0)],
    ]  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The settings of a quiet run; wandb writes nothing, and its thread ends with the test."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    yield {"dir": str(tmp_path / "store"), "quiet": True, "track_system": False}
    import wandb

    wandb.teardown()


def test_two_runs_of_one_program_are_kept_apart(config: dict[str, Any], tmp_path: Path) -> None:
    """A second run's names are recorded under its own name, and the run's problems say so."""
    import wandb

    with tracelet.start_logging("two", config=config):
        for name in ("first", "second"):
            with wandb.init(project="p", name=name, config={"lr": len(name)}) as second:
                second.log({"loss": 1.0})
    run = tracelet.open_store(tmp_path / "store").run("two")
    assert logged(run) == {"loss": [(0, 1.0)], "second/loss": [(0, 1.0)]}
    assert run.params == {"lr": 5, "second/lr": 6}
    assert any("several wandb runs" in problem for problem in run.problems)


def test_what_is_no_number_is_reported_and_the_classes_are_left_as_they_were(
    config: dict[str, Any], tmp_path: Path
) -> None:
    """A histogram is named among the run's problems; a text is an event; a setting turns everything off."""
    import wandb
    from wandb.sdk.wandb_run import Run as WandbRun

    before = dict(vars(WandbRun)), wandb.init
    with tracelet.start_logging("kinds", config=config), wandb.init(project="p") as run:
        run.log({"histogram": wandb.Histogram([1.0, 2.0]), "note": "text"})
    assert (dict(vars(WandbRun)), wandb.init) == before
    found = tracelet.open_store(tmp_path / "store").run("kinds")
    assert any("Histogram" in problem for problem in found.problems)
    assert found.events("text")[0].attributes == {"tag": "note", "step": 0, "text": "text"}
    with tracelet.start_logging("off", config={**config, "track_wandb": False}), wandb.init(project="p") as run:
        run.log({"loss": 1.0})
    assert tracelet.open_store(tmp_path / "store").run("off").metrics() == []


def test_a_run_is_not_delivered_back_to_where_it_came_from(config: dict[str, Any], tmp_path: Path) -> None:
    """The courier refuses with a sentence that says what to do; nothing is in wandb twice."""
    import wandb

    from tracelet.agent.delivery.courier import Courier
    from tracelet.agent.process.configuration import BackendConfig
    from tracelet.store import delivery_state

    with tracelet.start_logging("back", config=config) as experiment, wandb.init(project="p") as run:
        run.log({"loss": 1.0})
    said: list[str] = []
    reference = registry.BACKENDS["jsonl"]  # any class will do: the name says where it goes
    courier = Courier(
        experiment.folder, BackendConfig(name="wandb", reference=reference, options={}), said.append, False
    )
    courier.run()
    state = delivery_state.read(experiment.folder, "wandb")
    assert state is not None
    assert state.points == 0
    assert "twice" in state.error
