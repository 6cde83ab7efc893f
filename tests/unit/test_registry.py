"""Names to plug-ins: built-in rows load, and others join through entry points."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint

import pytest

import tracelet
from tracelet import registry
from tracelet.errors import SettingsError
from tracelet.settings import BY_NAME

ROWS = {**registry.INTEGRATIONS, **registry.COLLECTORS, **registry.FACT_COLLECTORS}


@pytest.mark.parametrize("name", ROWS)
def test_every_built_in_row_loads(name: str) -> None:
    """Each row names a class that exists."""
    assert isinstance(registry.load(ROWS[name]), type)


def test_every_part_has_its_switch() -> None:
    """What a user may want to switch off has a setting of its own."""
    for name in [*registry.INTEGRATIONS, *registry.FACT_COLLECTORS]:
        assert f"track_{name}" in BY_NAME


def test_entry_points_join_and_may_not_take_built_in_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plug-in of another package is found behind the built-in ones; one that takes a built-in name is an error."""
    point = EntryPoint("mine", "collections:OrderedDict", "tracelet.things")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == "tracelet.things" else [])
    assert [name for name, _ in registry.plugins("things", {"git": "tracelet.errors:Absent"})] == ["git", "mine"]
    with pytest.raises(SettingsError, match="Uninstall that package"):
        list(registry.plugins("things", {"mine": "tracelet.errors:Absent"}))


@pytest.mark.parametrize("delivery", ["agent", "off"])
def test_an_option_that_a_built_in_backend_lacks_stops_the_start(delivery: str) -> None:
    """A misspelt option is an error of `start_logging()`, not a line after the training; nothing is recorded."""
    with pytest.raises(SettingsError, match="'urll' is not an option of backend 'mlflow'. Did you mean 'url'"):
        tracelet.start_logging("typo", backend={"mlflow": {"urll": "x"}}, config={"delivery": delivery})
    assert tracelet.get_active_experiment() is None
    assert tracelet.open_store().runs() == []


def test_plug_ins_of_others_are_not_imported_for_their_options() -> None:
    """Only the agent loads a class that is not ours, so a missing one is no error of the start."""
    (backend_config,) = registry.validated_backends({"mine": {"class": "no_such_module:Mine", "speed": 3}})
    assert backend_config.options == {"speed": 3}
