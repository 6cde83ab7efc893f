"""Whether a backend's server answers, and where its credential comes from, told without the credential."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.answering import Answering
from tests.servers.stand_in import serving
from tracelet.cli.doctor_servers import check_server

KEY = "a-key-that-must-not-be-told"


@pytest.fixture
def server() -> Iterator[Answering]:
    with serving(Answering(b"")) as made:
        yield made


@pytest.fixture(autouse=True)
def _nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_BASE_URL", "CLEARML_API_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_a_server_that_answers(server: Answering, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address and the source of both address and credential are told, the credential is not."""
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    answers, says, fix = check_server("wandb", {})
    assert (answers, fix) == (True, "")
    assert says == f"{server.url} (from WANDB_BASE_URL), with the credential in WANDB_API_KEY"


def test_credentials_by_option_and_file(server: Answering, tmp_path: Path) -> None:
    """An option wins over a file; a file counts only if it has one for this system."""
    assert check_server("wandb", {"url": server.url})[0] is False
    assert "wandb login" in check_server("wandb", {"url": server.url})[2]
    (tmp_path / ".netrc").write_text("machine example.org login x password y")
    assert check_server("wandb", {"url": server.url})[0] is False
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}")
    answers, says, _ = check_server("wandb", {"url": server.url})
    assert answers
    assert says.endswith("with the credential in ~/.netrc")
    assert check_server("wandb", {"url": server.url, "api_key": KEY})[1].endswith("with the api_key passed to tracelet")


@pytest.mark.parametrize(("status", "answers"), [(200, True), (401, False), (404, True), (500, False), (503, False)])
def test_what_a_server_says_counts(server: Answering, status: int, answers: bool) -> None:
    """A server that knows no such page is up; one that refuses the key or has an error is no use."""
    server.status = status
    assert check_server("wandb", {"url": server.url, "api_key": KEY})[0] is answers


def test_nobody_listens() -> None:
    """The reason is told, and a password in the address is not."""
    answers, says, fix = check_server("wandb", {"url": f"http://me:{KEY}@127.0.0.1:9"})
    assert answers is False
    assert KEY not in says
    assert "Check that the server is running" in fix


@pytest.mark.parametrize(("name", "options"), [("wandb", {"mode": "offline"}), ("unknown", {})])
def test_files_need_nobody(name: str, options: dict[str, str]) -> None:
    """A backend that writes files is not asked."""
    assert check_server(name, options)[0] is None
