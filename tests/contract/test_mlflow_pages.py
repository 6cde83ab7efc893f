"""What MLflow's own pages show of a run, read from a real server: origin, nesting, machine, spans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tracelet
from tests.servers.mlflow_server import MlflowServer
from tracelet.agent.delivery.batch_reader import BatchReader
from tracelet.agent.delivery.courier_state import CourierState
from tracelet.agent.delivery.run_description import describe_run
from tracelet.backends.base import Batch, Outcome, RunDescription, SeriesPart, SpanPart
from tracelet.backends.mlflow import traces as mlflow_traces
from tracelet.backends.mlflow.backend import MlflowBackend
from tracelet.backends.mlflow.options import MlflowOptions
from tracelet.errors import Misconfigured, Rejected
from tracelet.telemetry import training_iteration, training_loop
from tracelet.testing import BackendConformance, Delivered

pytestmark = pytest.mark.slow
ENDED = 1_700_000_100.5
NANO = 1_000_000_000
GIT = {"commit": "c" * 40, "branch": "main", "remotes": {"origin": "https://example.org/us/repo.git"}, "diff": "+1"}


def described(folder: Path, **changes: Any) -> RunDescription:
    """A run as a courier would describe it; its folder is the name of its experiment."""
    suite = BackendConformance(lambda: None, lambda run: Delivered(), folder)  # type: ignore[arg-type, return-value]
    return suite.description(**{"id": folder.name, "project": folder.name, **changes})


def deliver(server: MlflowServer, run: RunDescription, *batches: Batch, ends: bool = True, **options: Any) -> Any:
    """All of it by one backend, and the run as MLflow has it then."""
    from mlflow.tracking import MlflowClient

    backend = MlflowBackend(MlflowOptions(url=server.url, **options))
    backend.open(run)
    for batch in batches:
        backend.write(batch)
    backend.close(Outcome("finished", "", ENDED) if ends else None)
    client = MlflowClient(server.url)
    found = client.search_runs(
        [one.experiment_id for one in client.search_experiments()], f"tags.`tracelet.run_id` = '{run.id}'"
    )
    assert len(found) == 1
    return found[0]


def span(number: int, parent: int, name: str, **more: Any) -> SpanPart:
    start = 1_700_000_000 * NANO + number * 1000
    return SpanPart(number, parent, name, start, start + 500, **more)


def test_origin_times_parameters_and_machine(tracking_server: MlflowServer, tmp_path: Path) -> None:
    """Start, end, status, code, user and machine stand where MLflow looks; a changed parameter loses nothing."""
    run = described(tmp_path, git=GIT, environment={"platform": {"user": "ada"}})
    machine = SeriesPart(
        "gpu/0/memory", (0, 1), (1.0, 2.0), (1_700_000_001.25, 1_700_000_011.25), (-1, -1), system=True
    )
    changes = Batch("b:1-2", points=[machine], params={"lr": 0.1, "text": "x" * 7000}, facts={"git": GIT})
    found = deliver(tracking_server, run, changes, Batch("b:2-3", params={"lr": 0.2}))
    assert (found.info.status, found.info.start_time, found.info.end_time) == (
        "FINISHED", 1_700_000_000_000, 1_700_000_100_500,
    )  # fmt: skip
    tags = found.data.tags
    assert tags["mlflow.source.git.commit"] == "c" * 40
    assert tags["mlflow.source.git.repoURL"] == "https://example.org/us/repo.git"
    assert (tags["mlflow.source.git.branch"], tags["mlflow.user"]) == ("main", "ada")
    assert tags["mlflow.source.name"] == "python train.py --lr"
    assert (found.data.params["lr"], found.data.params["lr.v2"]) == ("0.1", "0.2")
    assert found.data.params["text"] == "x" * 6000
    from mlflow.tracking import MlflowClient

    history = MlflowClient(tracking_server.url).get_metric_history(found.info.run_id, "system/gpu/0/memory")
    assert [(point.step, point.value, point.timestamp) for point in history] == [
        (0, 1.0, 1_700_000_001_250), (1, 2.0, 1_700_000_011_250),
    ]  # fmt: skip


def test_nested_under_a_run_or_a_group(tracking_server: MlflowServer, tmp_path: Path) -> None:
    """Runs of one group get one parent, made once; a run can be nested under any run by its id, in its experiment."""
    one, two, three = (described(tmp_path, id=f"run-{number}") for number in "123")
    parents = {
        deliver(tracking_server, run, group="Ada's sweep").data.tags["mlflow.parentRunId"] for run in (one, two, one)
    }
    assert len(parents) == 1
    (parent,) = parents
    elsewhere = described(tmp_path, id="run-3", name="elsewhere")
    found = deliver(tracking_server, elsewhere, parent=parent, experiment="")
    assert found.data.tags["mlflow.parentRunId"] == parent
    from mlflow.tracking import MlflowClient

    shown = MlflowClient(tracking_server.url).get_run(parent)
    assert (shown.info.run_name, shown.info.status) == ("Ada's sweep", "FINISHED")
    assert found.info.experiment_id == shown.info.experiment_id
    with pytest.raises(Misconfigured) as caught:
        deliver(tracking_server, three, parent="0" * 32)
    assert "no MLflow run" in caught.value.why


def test_spans_as_a_trace(tracking_server: MlflowServer, tmp_path: Path) -> None:
    """The chosen spans of a real run are one trace, linked to it, with parents, times, events and attributes."""
    config = {"track_git": False, "delivery": "off", "quiet": True}
    experiment = tracelet.start_logging("run", project=tmp_path.name, config=config)
    with training_loop(), training_iteration(), tracelet.span("mine", tokens=12, odd=float("nan")) as mine:
        mine.add_event("half", done=0.5)
    experiment.stop()
    run = describe_run(experiment.folder, CourierState(experiment.folder, "mlflow", str, print))
    feed, cursors = BatchReader(experiment.folder), dict[str, tuple[int, int]]()
    batches = []
    while (portion := feed.next(cursors)) is not None:
        batches += [portion.batch] if portion.batch is not None else []
        cursors[portion.pending.journal] = portion.pending.stop
    found = deliver(tracking_server, run, *batches, *batches[-1:], spans="outline")
    trace = traces(tracking_server, found)[0]
    assert trace.info.state == "OK"
    spans = {one.name: one for one in trace.data.spans}
    assert len(trace.data.spans) == len(spans)
    assert {"application", "training_loop", "mine"} <= set(spans)
    assert "training_single_iteration" not in spans
    assert spans["mine"].parent_id == spans["training_loop"].span_id
    assert (spans["mine"].attributes["tokens"], spans["mine"].attributes["odd"]) == (12, "nan")
    assert [event.name for event in spans["mine"].events] == ["half"]
    table = tracelet.open_store().run(experiment.id).spans("mine")
    assert spans["mine"].start_time_ns == table.starts_ns[0]


def traces(server: MlflowServer, run: Any) -> list[Any]:
    """The traces that MLflow shows on the page of the run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server.url)
    return list(client.search_traces(locations=[run.info.experiment_id], run_id=run.info.run_id))


def test_a_killed_process_and_many_spans(
    tracking_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process has a trace; one that was killed has an end, as an error; past the limit only the roots come."""
    monkeypatch.setattr(mlflow_traces, "MAX_SPANS", 3)
    memory: dict[str, Any] = {}
    run = described(tmp_path, memory=memory, remember=memory.__setitem__)
    begun = SpanPart(1, 0, "application", 1_700_000_000 * NANO, 0)
    backend = MlflowBackend(MlflowOptions(url=tracking_server.url, spans="all"))
    backend.open(run)
    backend.write(Batch("rank-0.0:1-2", spans=[span(2, 1, "first")], begun=[begun]))
    many = [span(number, 1, f"work {number}") for number in range(3, 9)]
    with pytest.raises(Rejected) as caught:
        backend.write(Batch("rank-0.0:2-3", spans=many))
    assert "3 spans" in caught.value.why
    backend.write(Batch("rank-1.0:1-2", spans=[*many, span(1, 0, "application")]))  # told once
    backend.close(Outcome("killed", "by SIGKILL", ENDED))
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_server.url)
    found = traces(tracking_server, client.get_run(str(memory["run_id"])))
    names = sorted(sorted(one.name for one in trace.data.spans) for trace in found)
    assert names == [["application"], ["application", "first", "work 3", "work 4"]]
    killed = next(trace for trace in found if len(trace.data.spans) > 1)
    assert killed.info.state == "ERROR"
    root = next(one for one in killed.data.spans if one.parent_id is None)
    assert root.end_time_ns == round(ENDED * NANO)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # MLflow's word on folders
def test_a_folder_takes_points_and_no_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MLflow keeps no spans that is told once, as a refusal, and everything else arrives."""
    from mlflow.tracking import MlflowClient

    address = (tmp_path / "mlruns").as_uri()
    with pytest.raises(Misconfigured, match="no longer writes") as refused:
        MlflowBackend(MlflowOptions(url=address)).open(described(tmp_path))
    assert "MLFLOW_ALLOW_FILE_STORE" in refused.value.fix
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    memory: dict[str, Any] = {}
    backend = MlflowBackend(MlflowOptions(url=address, spans="outline", group="sweep"))
    backend.open(described(tmp_path, memory=memory, remember=memory.__setitem__))
    points = [SeriesPart("loss", (0, 1), (0.5, 0.25), (1_700_000_001.0, 1_700_000_002.0), (0, 0))]
    with pytest.raises(Rejected) as caught:
        backend.write(Batch("rank-0.0:1-2", points=points, spans=[span(1, 0, "work")]))
    assert caught.value.why.startswith("this version of MLflow does not accept spans")
    backend.write(Batch("rank-0.0:2-3", spans=[span(2, 0, "more")]))
    backend.close(Outcome("failed", "", ENDED))
    client, run_id = MlflowClient(address), str(memory["run_id"])
    assert [point.value for point in client.get_metric_history(run_id, "loss")] == [0.5, 0.25]
    found = client.get_run(run_id)
    assert found.info.status == "FAILED"
    assert client.get_run(found.data.tags["mlflow.parentRunId"]).info.run_name == "sweep"
