"""As whom the servers of Weights & Biases and ClearML know us, told by name and never by key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.clearml_server import ClearmlServer, clearml_server
from tests.servers.stand_in import StandIn, serving
from tests.servers.wandb_server import WandbServer, wandb_server
from tracelet.cli.doctor_accounts import account_name
from tracelet.cli.doctor_servers import check_server

KEY = "a-key-that-must-not-be-told"


class Odd(StandIn):
    """Answers with nothing of use."""

    asked = 0

    def reply(self, method: str, path: str, body: bytes) -> object:
        """Count."""
        self.asked += 1
        return {"error": "no"}


@pytest.fixture
def wandb() -> Iterator[WandbServer]:
    with wandb_server() as server:
        yield server


@pytest.fixture
def clearml() -> Iterator[ClearmlServer]:
    with clearml_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _nobodys_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = ("WANDB_API_KEY", "NETRC", "CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY", "CLEARML_CONFIG_FILE")
    for name in names:
        monkeypatch.delenv(name, raising=False)


def test_wandb_by_option_variable_and_file(wandb: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the key is named, wherever the key stands; without one nobody is asked."""
    assert account_name("wandb", wandb.url, {}) == ""
    assert account_name("wandb", wandb.url, {"api_key": KEY}) == "tester"
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login user password {KEY}")
    assert account_name("wandb", wandb.url, {}) == "tester"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    says = check_server("wandb", {"url": wandb.url})[1]
    assert says == f"{wandb.url} (given as an option), with the credential in WANDB_API_KEY, as tester"


def test_clearml_by_option_and_file(clearml: ClearmlServer, tmp_path: Path) -> None:
    """The user of the key pair is named, also where the pair stands in clearml.conf."""
    assert account_name("clearml", clearml.url, {"access_key": "a", "api_key": KEY}) == "tester"
    pair = f'"access_key" = "A1"\n    "secret_key" = "{KEY}"'
    (tmp_path / "clearml.conf").write_text(f'api {{\n  # access_key: "old"\n  credentials {{\n    {pair}\n  }}\n}}')
    answers, says, _ = check_server("clearml", {"url": clearml.url})
    assert answers
    assert says.endswith("with the credential in ~/clearml.conf, as tester")
    assert KEY not in says


def test_a_server_that_says_nothing_of_use() -> None:
    """What is no answer to the question is no name, and no failure."""
    with serving(Odd()) as server:
        assert account_name("wandb", server.url, {"api_key": KEY}) == ""
        assert account_name("clearml", server.url, {"access_key": "a", "api_key": KEY}) == ""
        assert account_name("mlflow", server.url, {"api_key": KEY}) == ""
        assert server.asked == 2


def test_a_key_that_is_refused(wandb: WandbServer) -> None:
    """A server that does not take the key is told apart from one that is away."""
    wandb.status = 401
    answers, says, fix = check_server("wandb", {"url": wandb.url, "api_key": KEY})
    assert answers is False
    assert "rejects" in says
    assert "wandb login" in fix


def test_a_key_goes_nowhere_else(wandb: WandbServer) -> None:
    """A redirection is not followed: it would take the key to another server."""
    with serving(Odd()) as other:
        wandb.status, wandb.location = 302, other.url
        assert account_name("wandb", wandb.url, {"api_key": KEY}) == ""
        assert other.asked == 0
