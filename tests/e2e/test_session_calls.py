"""What start_logging(), stop_logging() and the handle do in every order and from every thread."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tracelet
from tracelet import errors, guard, registry
from tracelet.session import experiment
from tracelet.store.run import Run

SWITCHED_OFF = ("track_system", "track_git", "track_env", "track_lightning", "track_tensorboard", "track_spans")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SWITCHED_OFF:
        monkeypatch.setenv(f"TRACELET_{name.upper()}", "false")
    monkeypatch.setenv("TRACELET_QUIET", "yes")
    monkeypatch.setenv("TRACELET_DELIVERY", "off")


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told."""
    said: list[str] = []
    monkeypatch.setattr(guard.logger, "warning", lambda text, *values: said.append(text % values))
    return said


def latest() -> Run:
    """The newest run of the default store."""
    return tracelet.open_store().run("latest")


def runs() -> list[Run]:
    """All runs of the default store."""
    return tracelet.open_store().runs()


def test_a_run_from_start_to_stop() -> None:
    """What was logged between the two calls is read back, with its names, steps, parameters and tags."""
    run = tracelet.start_logging("first", project="p", tags=["a"], params={"lr": 0.1, "net": {"width": 3}})
    assert tracelet.get_active_experiment() is run
    run.log_metric("loss", 0.5, step=3)
    tracelet.log({"loss": 0.25, "acc": 1}, step=4)
    tracelet.stop_logging()
    assert tracelet.get_active_experiment() is None
    found = latest()
    assert (found.id, found.info.name, found.info.project, found.info.status) == (run.id, "first", "p", "finished")
    assert found.series("loss").steps.tolist() == [3, 4]
    assert found.series("acc").values.tolist() == [1.0]
    assert (found.params, found.tags) == ({"lr": 0.1, "net/width": 3}, {"a": "true"})


def test_a_second_call_for_the_same_run_returns_it() -> None:
    """A library that also calls start_logging() gets the run that is active: without a name, or with the same."""
    run = tracelet.start_logging("one", project="p")
    assert tracelet.start_logging() is run
    assert tracelet.start_logging("one") is run
    assert tracelet.start_logging("one", project="p", params={"more": 1}) is run
    tracelet.stop_logging()
    assert len(runs()) == 1
    assert latest().params == {"more": 1}


@pytest.mark.parametrize(("name", "project"), [("two", None), (None, "q"), ("two", "q")])
def test_a_second_call_for_another_run_is_an_error_and_the_first_goes_on(name: str | None, project: str | None) -> None:
    """Another name or project is AlreadyActive with what to type; the active run records on."""
    run = tracelet.start_logging("one", project="p")
    with pytest.raises(errors.AlreadyActive, match=r"'one'.*continues.*tracelet\.stop_logging\(\)"):
        tracelet.start_logging(name, project=project)
    run.log_metric("a", 1.0)
    tracelet.stop_logging()
    assert latest().series("a").values.tolist() == [1.0]


def test_stopping_without_a_run_does_nothing() -> None:
    """stop_logging() before, twice after, and through an old handle is harmless."""
    tracelet.stop_logging()
    run = tracelet.start_logging("one")
    tracelet.stop_logging()
    tracelet.stop_logging()
    run.stop()
    assert [found.info.status for found in runs()] == ["finished"]


@pytest.mark.parametrize("timeout", ["x", math.nan, [1]])
def test_a_timeout_that_is_no_time_stops_nothing(timeout: Any) -> None:
    """It is an error at the call, and the run goes on."""
    run = tracelet.start_logging("one")
    for stop in (tracelet.stop_logging, run.stop):
        with pytest.raises(errors.InvalidArgument, match="the run continues"):
            stop(timeout)
    assert tracelet.get_active_experiment() is run
    tracelet.stop_logging()


@pytest.mark.parametrize("timeout", [-5, 0, math.inf, np.float32(3), True])
def test_a_timeout_of_any_length_stops(timeout: Any, messages: list[str]) -> None:
    """What is left of a job's time may be nothing or less, and forever is a time too."""
    tracelet.start_logging("one")
    tracelet.log({"a": 1.0})
    tracelet.stop_logging(timeout)
    assert tracelet.get_active_experiment() is None
    assert latest().info.status == "finished" and len(latest().series("a")) == 1
    assert messages == []


def test_start_stop_start_makes_two_runs() -> None:
    """Each start after a stop is a run of its own, and an old handle cannot stop the new one."""
    first = tracelet.start_logging("a")
    first.log_metric("m", 1.0)
    tracelet.stop_logging()
    second = tracelet.start_logging("b")
    first.stop()
    second.log_metric("m", 2.0)
    tracelet.stop_logging()
    assert first.id != second.id
    store = tracelet.open_store()
    assert store.run("a").series("m").values.tolist() == [1.0]
    assert store.run("b").series("m").values.tolist() == [2.0]


def test_logging_without_a_run_is_said_once(messages: list[str]) -> None:
    """tracelet.log() before any run records nothing and tells so a single time."""
    for _ in range(3):
        tracelet.log({"a": 1.0})
    assert len(messages) == 1
    assert "start_logging" in messages[0]
    assert not Path(".tracelet").exists()


def test_logging_after_the_end_is_said_once(messages: list[str]) -> None:
    """A handle whose run has ended does nothing but say so a single time for each kind of what is logged."""
    run = tracelet.start_logging("a")
    tracelet.stop_logging()
    for _ in range(3):
        run.log_metric("m", 1.0)
        run.log_metrics({"m": 1.0})
        run.log_params({"p": 1})
        run.set_tags({"t": "x"})
        run.log_artifact("weights.pt")
        run.flush()
    said = ["'m'", "the parameter 'p'", "the tag 't'", "the artifact 'weights.pt'"]
    assert [message.removeprefix("tracelet: ").partition(" was logged")[0] for message in messages] == said
    assert (latest().metrics(), latest().params, latest().tags) == ([], {}, {})


ENDS: list[tuple[Callable[[], BaseException | None], str, str]] = [
    (lambda: None, "finished", ""),
    (lambda: ValueError("bad data"), "failed", "ValueError: bad data"),
    (KeyboardInterrupt, "interrupted", "Ctrl-C"),
    (lambda: SystemExit(0), "finished", ""),
    (lambda: SystemExit(None), "finished", ""),
    (lambda: SystemExit(3), "failed", "SystemExit: 3"),
    (lambda: ValueError("\udc80 no utf-8"), "failed", "ValueError: \\udc80 no utf-8"),
]


@pytest.mark.parametrize(("make", "status", "reason"), ENDS)
def test_a_with_block_knows_how_it_ended(make: Callable[[], BaseException | None], status: str, reason: str) -> None:
    """The context manager records the outcome with its traceback, and lets the very exception pass."""
    raised = make()
    caught: BaseException | None = None
    try:
        with tracelet.start_logging("a"):
            if raised is not None:
                raise raised
    except BaseException as error:  # noqa: BLE001 - the point of the test
        caught = error
    assert caught is raised
    record = latest().status_record
    assert (record.status, record.reason) == (status, reason)
    assert ("Traceback" in record.traceback) == (status in {"failed", "interrupted"})


def test_any_thread_may_start_and_stop() -> None:
    """A run started on one thread is active on all and may be stopped on another."""
    threads = [
        threading.Thread(target=lambda: tracelet.start_logging("a")),
        threading.Thread(target=lambda: tracelet.log({"m": 1.0})),
        threading.Thread(target=tracelet.stop_logging),
    ]
    for thread in threads:
        thread.start()
        thread.join()
    assert latest().series("m").values.tolist() == [1.0]
    assert latest().info.status == "finished"


def test_threads_that_start_at_once_share_one_run() -> None:
    """However many threads start the run of the same name, there is one run, and the points of all are in it."""
    barrier = threading.Barrier(8)
    handles: list[tracelet.Experiment] = []

    def work(number: int) -> None:
        barrier.wait()
        run = tracelet.start_logging("shared")
        handles.append(run)
        for step in range(200):
            run.log_metric(f"m{number}", float(step), step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tracelet.stop_logging()
    assert len({id(handle) for handle in handles}) == len(runs()) == 1
    assert all(latest().series(f"m{number}").steps.tolist() == list(range(200)) for number in range(8))


@pytest.mark.parametrize("how", ["config", "environment", "file"])
def test_switched_off_records_nothing(how: str, monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    """With enabled=false every call works, says nothing and leaves no file, whichever way it was switched off."""
    config = {"enabled": False} if how == "config" else None
    if how == "environment":
        monkeypatch.setenv("TRACELET_ENABLED", "0")
    if how == "file":
        Path("pyproject.toml").write_text("[tool.tracelet]\nenabled = false\n", encoding="utf-8")
    with tracelet.start_logging("a", config=config, params={"p": 1}, tags={"t": "x"}) as run:
        run.log_metric("m", 1.0)
        tracelet.log({"m": 2.0})
        run.log_artifact("no such file")
        assert tracelet.get_active_experiment() is run
    assert tracelet.get_active_experiment() is None
    assert not Path(".tracelet").exists()
    assert messages == []


def test_settings_come_from_arguments_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments win over TRACELET_*, these over [tool.tracelet], and that over the defaults."""
    Path("pyproject.toml").write_text(
        '[tool.tracelet]\nproject = "from-file"\nexperiment_name = "from-file"\ndir = "from-file"\n', encoding="utf-8"
    )
    monkeypatch.setenv("TRACELET_PROJECT", "from-environment")
    monkeypatch.setenv("TRACELET_EXPERIMENT_NAME", "from-environment")
    with tracelet.start_logging("from-arguments"):
        pass
    info = tracelet.open_store("from-file").run("latest").info
    assert (info.name, info.project) == ("from-arguments", "from-environment")


@pytest.mark.parametrize("arguments", [{"params": "abc"}, {"params": [1]}, {"tags": "abc"}, {"tags": 3}, {"tags": [3]}])
def test_wrong_parameters_and_tags_start_nothing(arguments: dict[str, Any]) -> None:
    """What cannot be meant as parameters or tags is an error of ours before anything exists."""
    with pytest.raises(errors.InvalidArgument):
        tracelet.start_logging("a", **arguments)
    assert tracelet.get_active_experiment() is None
    assert not Path(".tracelet").exists()


@pytest.mark.parametrize("run_id", ["latest", "auto"])
def test_an_id_that_stands_for_another_run_is_refused(run_id: str) -> None:
    """A run of this id could not be asked for, or would be taken for the newest for ever."""
    with pytest.raises(errors.SettingsError, match=f"resume='{run_id}'"):
        tracelet.start_logging("a", run_id=run_id)
    assert runs() == []


@pytest.mark.parametrize("option", ["backend_url", "api_key"])
def test_an_address_for_no_backend_is_an_error(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that no backend gets says what to name; from the environment, or switched off, it means nothing."""
    given: dict[str, Any] = {option: "http://127.0.0.1:9"}
    with pytest.raises(errors.SettingsError, match=rf"backend='mlflow', {option}="):
        tracelet.start_logging("a", **given)
    assert runs() == []
    with tracelet.start_logging("off", config={"enabled": False}, **given):
        pass
    monkeypatch.setenv(f"TRACELET_{option.upper()}", given[option])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given[option])
    with tracelet.start_logging("a"):
        pass


def test_wrong_arguments_of_the_handle_record_nothing() -> None:
    """Texts and lists where names belong are errors at the call that say what to type."""
    with tracelet.start_logging("a", tags={"keep": "x", "drop": "y"}) as run:
        wrong: Any
        for call, wrong in (
            (run.log_params, "abc"), (run.log_params, [("lr", 1)]), (run.log_params, None), (run.set_tags, "abc"),
        ):  # fmt: skip
            with pytest.raises(errors.InvalidArgument, match="nothing was recorded"):
                call(wrong)
        metrics: Any
        for metrics in ([("a", 1.0)], "abc", None, 3):
            with pytest.raises(errors.InvalidMetric, match=r"nothing was recorded.*log_metrics\(\{"):
                run.log_metrics(metrics)
            tracelet.log(metrics)
        run.set_tags({"drop": None})
        run.set_tags(["listed"])
    assert (latest().params, latest().metrics()) == ({}, [])
    assert latest().tags == {"keep": "x", "listed": "true"}


WRONG_CONFIGS: list[Any] = [
    "x", 3, ["track_git"], {3: 1}, {"flush_interval": 10**400}, {"flush_interval": 10**5000}, {"flush_interval": 1e300},
    {"telemetry_interval": math.inf}, {"telemetry_interval": 10**400}, {"telemetry_interval": 2.5},
    {"metrics_interval": math.nan},
]  # fmt: skip


@pytest.mark.parametrize("config", WRONG_CONFIGS, ids=range(len(WRONG_CONFIGS)))
def test_a_monstrous_setting_is_an_error_and_nothing_is_started(config: Any) -> None:
    """A configuration that is no table, and numbers that no clock can wait for, raise SettingsError."""
    with pytest.raises(errors.SettingsError):
        tracelet.start_logging("a", config=config)
    assert not Path(".tracelet").exists()


@pytest.mark.parametrize("config", [{"tracksystem": False}, {"metrics_interval": -1}, {"enabled": "maybe"}, {"dir": 3}])
def test_a_wrong_setting_is_an_error_and_nothing_is_started(config: dict[str, object]) -> None:
    """A key or value that cannot be meant raises SettingsError before anything exists."""
    with pytest.raises(errors.SettingsError):
        tracelet.start_logging("a", config=config)
    assert tracelet.get_active_experiment() is None
    assert not Path(".tracelet").exists()


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """StoreError names the reason and TRACELET_DIR; no run is active, and the next call may succeed."""
    Path("blocked").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("TRACELET_DIR", str(Path("blocked") / "store"))
    with pytest.raises(errors.StoreError, match="nothing was started.*TRACELET_DIR="):
        tracelet.start_logging("a")
    assert tracelet.get_active_experiment() is None
    monkeypatch.setenv("TRACELET_DIR", "free")
    with tracelet.start_logging("a"):
        pass
    assert tracelet.open_store("free").run("latest").info.status == "finished"


def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    """A store on a read-only file system is StoreError at the start."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere, and mounting is not permitted")
        disk.chmod(0o500)
    try:
        with pytest.raises(errors.StoreError, match="TRACELET_DIR"):
            tracelet.start_logging("a", config={"dir": str(disk / "store")})
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(disk)], check=True)


def test_no_space_for_the_first_record_is_an_error() -> None:
    """A disk that is full at the start is StoreError, not a run that records nothing."""
    code = (
        "import resource, signal, tracelet\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))\n"
        "try: tracelet.start_logging('a')\n"
        "except tracelet.errors.StoreError as error: print('StoreError', tracelet.get_active_experiment())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("StoreError None\n", "")


@pytest.mark.allow_guarded
def test_a_part_that_cannot_start_costs_only_itself(monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    """Collectors and integrations that cannot be loaded or started are said, and the run records all the rest."""
    monkeypatch.setitem(registry.FACT_COLLECTORS, "git", "tracelet.no_such_module:Thing")
    monkeypatch.setitem(registry.COLLECTORS, "system", "tracelet.collectors.base:NoSuchClass")
    monkeypatch.setitem(registry.INTEGRATIONS, "lightning", "tracelet.errors:Absent")
    for name in ("system", "git", "lightning"):
        monkeypatch.setenv(f"TRACELET_TRACK_{name.upper()}", "true")
    with tracelet.start_logging("a") as run:
        run.log_metric("m", 1.0)
    assert latest().series("m").values.tolist() == [1.0]
    assert latest().info.status == "finished"
    assert len([text for text in messages if "failed" in text]) == 3


@pytest.mark.allow_guarded
def test_points_that_turn_out_unreadable_are_among_the_problems() -> None:
    """A tensor without a value is found out by the writer's thread; the run says which metric misses points."""
    with tracelet.start_logging("a"):
        tracelet.log({"meta": torch.ones((), device="meta"), "loss": 1.0})
    (problem,) = latest().problems
    assert "points of 'meta' were not recorded" in problem
    assert latest().metrics() == ["loss"]


@pytest.mark.parametrize("bad", ["text", None, [1.0], float, torch.ones(3), 10**400, Decimal("sNaN")])
def test_log_metrics_with_a_wrong_value_records_nothing(bad: object) -> None:
    """One value that is no number is an error at the call, and no metric of that call is recorded."""
    with tracelet.start_logging("a") as run:
        with pytest.raises(errors.InvalidMetric, match="'wrong'"):
            run.log_metrics({"good": 1.0, "wrong": bad})
        with pytest.raises(errors.InvalidMetric, match="'wrong'"):
            run.log_metric("wrong", bad)
    assert latest().metrics() == []


def test_log_records_every_number_and_reports_the_rest_once() -> None:
    """`tracelet.log()` never raises: numbers are recorded, nested ones by joined names, arrays as histograms, and
    others reported once.
    """
    odd: dict[str, Any] = {"text": "abc", "none": None, "array": torch.ones(3), "hostile": Hostile(), "": 1.0}
    odd["self"] = odd
    nested = {"acc": torch.tensor(0.25), "by": {"class": [1], 3: 1}}
    with tracelet.start_logging("a"):
        for step in range(3):
            tracelet.log({"loss": 0.5, **odd, "val": nested}, step=step)
            tracelet.log({"loss": 1.0}, step="first")  # type: ignore[arg-type]
            tracelet.log("nothing")  # type: ignore[arg-type]
    run = latest()
    assert [name for name in run.metrics() if not name.startswith("self/")] == ["loss", "val/acc", "val/by/3"]
    assert run.series("loss").values.tolist() == [0.5] * 3
    assert run.series("val/acc").steps.tolist() == [0, 1, 2]
    assert [(item.kind, item.step) for item in run.media("array")] == [("histogram", step) for step in range(3)]
    values, step_problem, no_names = run.problems
    for name, kind in (
        ("text", "str"),
        ("none", "NoneType"),
        ("self/self", "dict"),
        ("", "float"),
    ):
        assert f"'{name}' ({kind})" in values
    assert "the step is 'first'" in step_problem
    assert "metrics are a str, not a mapping" in no_names


@pytest.mark.parametrize("step", [1.5, "3", [1], 2**63, -(2**63) - 1, 10**30])
def test_a_wrong_step_is_an_error_at_the_call(step: Any) -> None:
    """A step that is no integer of 64 bits is InvalidMetric, and nothing is recorded."""
    with tracelet.start_logging("a") as run:
        with pytest.raises(errors.InvalidMetric, match="step"):
            run.log_metric("m", 1.0, step)
        with pytest.raises(errors.InvalidMetric, match="step"):
            run.log_metrics({"m": 1.0}, step)
    assert latest().metrics() == []


def test_a_wrong_step_is_told_with_what_to_type() -> None:
    """The error names what the program wrote, and the number that a text holds."""
    step: Any = "5"
    with tracelet.start_logging("a") as run:
        with pytest.raises(errors.InvalidMetric, match=r"^the step is '5'.*type step=5$"):
            run.log_metrics({"m": 1.0}, step=step)
        with pytest.raises(errors.InvalidMetric, match=r"^the step of 'm' is '5'.*type step=5$"):
            run.log_metric("m", 1.0, step=step)


@pytest.mark.parametrize("name", ["", None, 5, b"m"])
def test_a_wrong_name_is_an_error_at_the_call(name: Any) -> None:
    """A name that is no text, or empty, is InvalidMetric."""
    with tracelet.start_logging("a") as run:
        with pytest.raises(errors.InvalidMetric, match="name"):
            run.log_metric(name, 1.0)
        with pytest.raises(errors.InvalidMetric, match="name"):
            run.log_metrics({name: 1.0})
    assert latest().metrics() == []


def test_steps_of_any_kind_are_kept() -> None:
    """Negative, decreasing, repeated and huge steps, and steps of numpy and torch, are recorded as they are."""
    steps: list[Any] = [5, -3, 5, 0, 2**63 - 1, -(2**63), np.int32(7), torch.tensor(8), True]
    with tracelet.start_logging("a") as run:
        for step in steps:
            run.log_metric("m", 1.0, step)
    assert latest().series("m").steps.tolist() == [int(step) for step in steps]


def test_without_a_step_each_metric_counts_for_itself() -> None:
    """The step left out is the metric's last one plus one; `iteration` and `set_iteration` give one for all."""
    with tracelet.start_logging("a") as run:
        run.log_metric("m", 1.0)
        run.log_metric("m", 1.0)
        run.log_metric("n", 1.0)
        run.log_metric("m", 1.0, 10)
        run.log_metric("m", 1.0)
        run.log_metric("m", 1.0, iteration=20)
        run.set_iteration(30)
        run.log_metrics({"m": 1.0, "n": 1.0})
        run.set_iteration(None)
        run.log_metric("m", 1.0)
    assert latest().series("m").steps.tolist() == [0, 1, 10, 11, 20, 30, 31]
    assert latest().series("n").steps.tolist() == [0, 30]


NAMES = ["loss", "train/loss", "ünïcödé", "line\nbreak", "tab\t", "\U0001f600", "a b", " ", "'\"", "x" * 1000]
NAMES += ["\0", "../..", "%s"]


def test_names_of_any_kind_are_kept() -> None:
    """Unicode, control characters, slashes and long names are read back as they were given."""
    with tracelet.start_logging("n\n\0ame\U0001f600", project="p/../q") as run:
        for number, name in enumerate(NAMES):
            run.log_metric(name, float(number))
    assert latest().metrics() == sorted(NAMES)
    assert latest().info.name == "n\n\0ame\U0001f600"


def test_a_name_of_a_megabyte_is_cut_and_said(messages: list[str]) -> None:
    """A monstrous name costs neither memory nor the other metrics."""
    with tracelet.start_logging("a") as run:
        run.log_metric("x" * 1_000_000, 1.0)
        run.log_metric("y", 2.0)
    assert latest().metrics() == ["x" * 1000, "y"]
    assert len(messages) == 1


@pytest.mark.slow
def test_ten_thousand_metrics_are_kept() -> None:
    """Very many metrics, logged together and again, are all there."""
    with tracelet.start_logging("a") as run:
        for step in range(3):
            run.log_metrics({f"m{number}": number + step for number in range(10_000)}, step)
    found = latest()
    assert len(found.metrics()) == 10_000
    assert found.summaries()["m77"].count == 3
    assert found.series("m9999").values.tolist() == [9999.0, 10000.0, 10001.0]


def test_a_clock_that_goes_backwards_disturbs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points keep their order and the times of their moments when the wall clock is set back, or stands still."""
    times = [1000.0, 1001.0, 500.0, 500.0, 2000.0, 0.0]
    ticks = iter(times)
    monkeypatch.setattr(experiment, "_clock", lambda: next(ticks))
    with tracelet.start_logging("a") as run:
        for number in range(len(times)):
            run.log_metric("m", float(number))
    series = latest().series("m")
    assert series.times.tolist() == times
    assert series.values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_odd_floats_are_exact() -> None:
    """NaN, infinities, negative zero and denormals are read back as they were logged."""
    odd = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308, 0.1]
    with tracelet.start_logging("a") as run:
        for value in odd:
            run.log_metric("m", value)
    assert [repr(value) for value in latest().series("m").values.tolist()] == [repr(value) for value in odd]


@pytest.mark.parametrize("value", [2**53 + 1, np.int64(2**53 + 1), torch.tensor(2**53 + 1), -(2**60) - 1])
def test_integers_that_no_float_equals_are_reported(value: Any) -> None:
    """A rounded integer is a problem of the run, once for each metric; integers that are exact are none."""
    with tracelet.start_logging("a") as run:
        for step in range(3):
            run.log_metric("m", value)
            run.log_metrics({"n": value, "exact": 2**60}, step=step)
    assert latest().series("m").values.tolist() == [float(int(value))] * 3
    (one, two) = latest().problems
    assert "integers of 'm' beyond 2^53 were rounded" in one
    assert "integers of 'n' beyond 2^53 were rounded" in two


class Hostile:
    """A parameter whose every conversion raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __format__ = __str__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __hash__(self) -> int:
        return 1

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")


def test_hostile_parameters_are_described() -> None:
    """A value whose text, comparison and truth raise is recorded by its type; containers of them too."""
    cycle: list[Any] = []
    cycle.append(cycle)
    hostile = {"h": Hostile(), "set": {Hostile()}, "cycle": cycle, "huge": 10**5000}
    with tracelet.start_logging("a", params=hostile) as run:
        run.log_params({"long": "x" * 100_000, "surrogate\udc80": "\udc80", "ld": np.longdouble(0.5)})
    params = latest().params
    assert str(params["h"]).endswith("test_session_calls.Hostile")
    assert "Hostile" in str(params["set"])
    assert str(params["huge"]).startswith("0x")
    assert len(str(params["long"])) < 5000
    assert params["surrogate\\udc80"] == "\\udc80"
    assert params["ld"] == "0.5"
    assert "cycle" in params
