"""What `tracelet doctor` is told by the backends: whether they answer and with whose credentials, never which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.servers.answering import Answering
from tests.servers.stand_in import serving
from tracelet.backends.aim.backend import AimBackend, AimOptions
from tracelet.backends.jsonl.backend import JsonlBackend, JsonlOptions
from tracelet.backends.mlflow.backend import MlflowBackend
from tracelet.backends.mlflow.options import MlflowOptions
from tracelet.backends.otlp.backend import OtlpBackend, OtlpOptions
from tracelet.backends.tensorboard.backend import TensorboardBackend, TensorboardOptions
from tracelet.cli import main
from tracelet.errors import Misconfigured, Unavailable

KEY = "a-key-that-must-not-be-told"


@pytest.fixture
def server() -> Iterator[Answering]:
    with serving(Answering()) as made:
        yield made


@pytest.fixture(autouse=True)
def _nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("URI", "TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name in ("ENDPOINT", "TRACES_ENDPOINT", "HEADERS", "TRACES_HEADERS", "PROTOCOL"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)


def mlflow(**options: str) -> str:
    return MlflowBackend(MlflowOptions(**options)).check()  # type: ignore[arg-type]


def test_mlflow_names_whose_credential_it_has(
    server: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source is named and sent as MLflow's client would: nothing, token, file, user, key, ~/.netrc."""
    assert mlflow(url=server.url) == f"{server.url} (given as an option), without a credential"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", KEY)
    assert mlflow() == f"{server.url} (from MLFLOW_TRACKING_URI), with the credential in MLFLOW_TRACKING_TOKEN"
    assert server.authorization == f"Bearer {KEY}"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", KEY)
    assert mlflow().endswith("as 'ada' (from MLFLOW_TRACKING_USERNAME)")
    assert server.authorization.startswith("Basic ")
    assert mlflow(api_key="given").endswith("with the api_key passed to tracelet")
    assert server.authorization == "Bearer given"
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        f"[mlflow]\nmlflow_tracking_username = eve\nmlflow_tracking_password = {KEY}%\n"
    )
    assert mlflow().endswith("as 'eve' (from ~/.mlflow/credentials)")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login me password {KEY}")
    (tmp_path / ".netrc").chmod(0o600)
    assert mlflow().endswith("with the user and password in ~/.netrc")


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (401, b"", Misconfigured, "it rejects the credential"), (403, b"", Misconfigured, "it rejects the"),
        (404, b"", Misconfigured, "the server is not MLflow"),
        (200, b"<html>hello", Misconfigured, "the server is not MLflow"),
        (503, b"", Unavailable, "it answers 503"),
    ],
)  # fmt: skip
def test_mlflow_that_is_not_as_it_should_be(
    server: Answering, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, kind: type[Exception], said: str
) -> None:
    """A refused credential, another server, an error: each is told, with the address and without the password."""
    server.status = status
    server.body = body
    with pytest.raises(kind, match=said) as caught:
        mlflow(url=server.url.replace("//", f"//me:{KEY}@"))
    assert KEY not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)


def test_nobody_listens() -> None:
    """Who does not answer is told with the address, and a password in it is not."""
    for ask in (
        MlflowBackend(MlflowOptions(url=f"http://me:{KEY}@127.0.0.1:9")).check,
        OtlpBackend(OtlpOptions(url=f"http://me:{KEY}@127.0.0.1:9")).check,
    ):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert "127.0.0.1:9" in str(caught.value)
        assert KEY not in str(caught.value)


def test_mlflow_without_a_server(tmp_path: Path) -> None:
    """A database file is told whole, another database is not asked, and without an address MLflow has its own."""
    assert mlflow(url="sqlite:///runs/mlflow.db") == (
        f"files on this machine: {tmp_path}/runs/mlflow.db (given as an option)"
    )
    assert mlflow(url=f"postgresql://me:{KEY}@db/mlflow").startswith("postgresql://***@db/mlflow")
    assert "no address" in mlflow()
    with pytest.raises(Misconfigured) as caught:
        mlflow(url="tracking:5000")  # MLflow would make a folder of this name
    assert caught.value.fix == "Type http://tracking:5000 for a server"


def test_a_collector_with_and_without_headers(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """The OTLP collector is sent a request without spans; where the headers come from is told; a refusal is one."""
    assert OtlpBackend(OtlpOptions(url=server.url)).check() == f"{server.url}/v1/traces, without a credential"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {KEY}")
    found = OtlpBackend(OtlpOptions(url=server.url)).check()
    assert found == f"{server.url}/v1/traces, with the headers in OTEL_EXPORTER_OTLP_HEADERS"
    assert server.authorization == f"Bearer {KEY}"
    server.status = 400  # nothing in it: it answers all the same
    assert OtlpBackend(OtlpOptions(url=server.url, api_key=KEY)).check().endswith("passed to tracelet")
    server.status = 401
    with pytest.raises(Misconfigured):
        OtlpBackend(OtlpOptions(url=server.url)).check()


def checks(place: str) -> list[Callable[[], str]]:
    """Of the backends that write files."""
    return [
        TensorboardBackend(TensorboardOptions(log_dir=place)).check, JsonlBackend(JsonlOptions(path=place)).check,
        AimBackend(AimOptions(repo=place)).check,
    ]  # fmt: skip


def test_places_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files go is told whole and not made; a place below a file is an error that says what to type."""
    monkeypatch.setattr(
        "tracelet.backends.aim.backend.require_package", lambda package, extra: None
    )  # not for every Python
    for check in checks("some/place"):
        assert str(tmp_path / "some" / "place") in check()
    for check in checks(""):
        assert check() == "files in the store"
    assert not (tmp_path / "some").exists()
    (tmp_path / "file").write_text("")
    for check in checks("file/below"):
        with pytest.raises(Misconfigured) as caught:
            check()
        assert "backend={" in caught.value.fix
    with pytest.raises(Unavailable):
        AimBackend(AimOptions(repo="aim://127.0.0.1:9")).check()


def test_doctor_asks(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tracelet doctor` prints what each backend says, and ends with 1 if one of them cannot work."""
    monkeypatch.setenv("TRACELET_BACKEND", "mlflow,jsonl")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", KEY)
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0, done.output
    assert f"ok: {server.url} (from MLFLOW_TRACKING_URI), with the credential in MLFLOW_TRACKING_TOKEN" in done.output
    assert "ok: files in the store" in done.output
    server.status = 401
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 1
    assert "it rejects the credential" in done.output
    assert "MLFLOW_TRACKING_PASSWORD" in done.output
    assert KEY not in done.output
