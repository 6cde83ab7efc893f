"""What users write as `backend=`: names with options, and never a credential on disk."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tracelet.errors import SettingsError
from tracelet.session.backend_arguments import parse, without_credentials

ASKED: list[tuple[Any, dict[str, Any]]] = [
    (None, {}), ("", {}), ("mlflow", {"mlflow": {}}), (" MLflow , wandb,,", {"mlflow": {}, "wandb": {}}),
    (["mlflow", " wandb "], {"mlflow": {}, "wandb": {}}), (("aim",), {"aim": {}}),
    ({"mlflow": {"uri": "x"}, "wandb": None}, {"mlflow": {"uri": "x"}, "wandb": {}}), ([], {}), ({}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("backend", "names"), ASKED)
def test_every_way_to_name_backends(backend: Any, names: dict[str, Any]) -> None:
    """A name, a list in any form, or a table of options say where to deliver."""
    assert parse(backend, {}) == names


def test_options_of_the_settings_are_overridden_name_by_name() -> None:
    """Options given with the backend win over those of the settings; tables of backends not asked for stay out."""
    tables: dict[str, dict[str, Any]] = {"mlflow": {"uri": "settings", "a": 1}, "wandb": {"b": 2}}
    assert parse({"mlflow": {"uri": "call"}}, tables) == {"mlflow": {"uri": "call", "a": 1}}


@pytest.mark.parametrize("backend", [3, 1.5, object(), {"mlflow": "yes"}, {"mlflow": ["a"]}])
def test_what_cannot_be_meant_is_an_error(backend: object) -> None:
    """Anything else is SettingsError that shows what to give."""
    with pytest.raises(SettingsError, match="expected a"):
        parse(backend, {})


def test_no_credential_is_kept_at_any_depth() -> None:
    """Options that look secret are gone and addresses lose their passwords, nested ones too; the rest can be stored."""
    given: dict[Any, Any] = {3: {"token": "K6"}}
    kept = without_credentials(
        {
            "a": {
                "api_key": "K1", "url": "https://user:K2@host/x", "headers": {"Authorization": "K3", "x": "y"},
                "list": [{"password": "K4"}, "http://u:K5@h"], "object": object(), "n": 1, **given,
            },
        }
    )  # fmt: skip
    text = repr(kept)
    assert not [key for key in ("K1", "K2", "K3", "K4", "K5", "K6") if key in text]
    assert (kept["a"]["n"], kept["a"]["headers"]["x"]) == (1, "y")
    msgspec.msgpack.encode(kept)
