"""Where each setting comes from, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracelet import settings
from tracelet.errors import SettingsError


def load(**places: Any) -> settings.Settings:
    """Settings of an empty environment unless given."""
    return settings.load(**{"environ": {}, **places})


def test_every_setting_has_a_sound_default_and_a_variable() -> None:
    """Without any word from the user every row has its default, which its own parser takes."""
    settled = load()
    for row in settings.TABLE:
        assert settled[row.name] == row.default == row.parse(row.default)
        assert settled.sources[row.name] == "default"
        assert row.variable == f"TRACELET_{row.name.upper()}"
        assert row.doc.endswith(".")
    assert len(settled) == len(settings.TABLE)
    assert dict(settled) == {row.name: row.default for row in settings.TABLE}


def test_the_nearest_word_wins() -> None:
    """Arguments win over config, config over the environment, that over the file, and the file over defaults."""
    Path("pyproject.toml").write_text(
        '[tool.tracelet]\nproject = "file"\nmetrics_interval = 1\nquiet = true\nexperiment_name = "file"\n',
        encoding="utf-8",
    )
    environ = {"TRACELET_PROJECT": "environment", "TRACELET_METRICS_INTERVAL": "2", "TRACELET_EXPERIMENT_NAME": "env"}
    settled = load(
        arguments={"project": "argument", "backend_url": None}, config={"project": "config", "metrics_interval": 3},
        environ=environ,
    )  # fmt: skip
    assert (settled.project, settled.metrics_interval) == ("argument", 3.0)
    assert (settled.experiment_name, settled.quiet) == ("env", True)
    assert [settled.sources[name] for name in ("project", "metrics_interval", "experiment_name", "backend_url")] == [
        "arguments", "config", "environment", "default",
    ]  # fmt: skip
    assert "pyproject.toml" in settled.sources["quiet"]


def test_the_project_file_is_looked_for_upwards(tmp_path: Path) -> None:
    """The nearest pyproject.toml above the folder counts, whether it names tracelet or not."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.tracelet]\nproject = "top"\n', encoding="utf-8")
    assert load(folder=tmp_path / "a" / "b" / "c").project == "top"
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    assert load(folder=tmp_path / "a" / "b" / "c").project == "default"


SWITCHES = [("1", True), ("TRUE", True), (" yes ", True), ("on", True), (True, True), (1, True)]
SWITCHES += [("0", False), ("False", False), ("no", False), ("off", False), (False, False), (0, False)]


@pytest.mark.parametrize(("word", "meaning"), SWITCHES)
def test_switches_take_the_usual_words(word: object, meaning: bool) -> None:
    """true, yes, on, 1 and their opposites mean what they say."""
    assert load(config={"track_git": word}).track_git is meaning


IMPOSSIBLE = [
    ("track_git", "maybe"), ("track_git", 2), ("track_git", []), ("metrics_interval", 0), ("metrics_interval", -1),
    ("metrics_interval", "soon"), ("metrics_interval", float("nan")), ("flush_interval", float("inf")),
    ("stop_timeout", []), ("delivery", "pigeon"), ("project", 3), ("dir", ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), IMPOSSIBLE)
def test_impossible_values_are_errors_that_say_what_to_give(key: str, value: object) -> None:
    """A value that cannot be meant names the key, the value, and what to give instead."""
    with pytest.raises(SettingsError, match=rf"'{key}' \(config\) cannot be .*expected "):
        load(config={key: value})


@pytest.mark.parametrize(
    ("key", "nearest"), [("metric_interval", "metrics_interval"), ("Track_Git", "track_git"), ("wandbb", "wandb")]
)
def test_an_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    """A mistyped key is an error with the key that was probably meant; one like none lists all."""
    with pytest.raises(SettingsError, match=f"Did you mean '{nearest}'"):
        load(config={key: 1})
    with pytest.raises(SettingsError, match="Settings: experiment_name"):
        load(config={"xyzzy": 1})


def test_errors_name_the_variable_or_the_file() -> None:
    """A wrong value in the environment or in a file is blamed on its place."""
    with pytest.raises(SettingsError, match="environment variable TRACELET_QUIET"):
        load(environ={"TRACELET_QUIET": "perhaps"})
    Path("pyproject.toml").write_text("[tool.tracelet]\nquite = true\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"\[tool.tracelet\] in .*pyproject.toml.*'quiet'"):
        load()


@pytest.mark.parametrize("text", ["[tool", "[tool]\ntracelet = 3\n", "[tool]\ntracelet = []\n"])
def test_a_broken_project_file_is_an_error_that_names_it(text: str) -> None:
    """A pyproject.toml that is no TOML, or where [tool.tracelet] is no table, is SettingsError."""
    Path("pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"pyproject\.toml"):
        load()


def test_a_file_that_says_nothing_to_us_is_left_alone() -> None:
    """A pyproject.toml without our table, however odd, gives the defaults."""
    Path("pyproject.toml").write_text("tool = 3\n", encoding="utf-8")
    assert load().project == "default"


def test_a_deleted_working_directory_gives_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a working directory there is no file to read, and no error."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert load().project == "default"


def test_unknown_variables_are_left_alone() -> None:
    """A TRACELET_* variable of another version or a plug-in is no error, and an empty one is as good as none."""
    assert load(environ={"TRACELET_FUTURE": "1", "TRACELET_PROJECT": ""}).project == "default"


def test_backends_have_tables() -> None:
    """Options of a backend are kept by its name, merged from file and code, and must be tables."""
    Path("pyproject.toml").write_text('[tool.tracelet.mlflow]\nuri = "file"\na = 1\n', encoding="utf-8")
    settled = load(config={"mlflow": {"uri": "code"}, "mine": {"x": 2}})
    assert settled.tables == {"mlflow": {"uri": "code", "a": 1}, "mine": {"x": 2}}
    with pytest.raises(SettingsError, match="must be a table"):
        load(config={"wandb": "yes"})


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    """Settings behave like objects: copying and hasattr work."""
    assert not hasattr(load(), "nothing")


def test_backends_as_a_list_or_a_mapping() -> None:
    """`backend` in a configuration may be a list of names, or a mapping of names to options."""
    assert load(config={"backend": ["mlflow", "jsonl"]}, environ={}).backend == "mlflow,jsonl"
    found = load(config={"backend": {"mlflow": {"url": "http://x"}, "jsonl": None}}, environ={})
    assert found.backend == "mlflow,jsonl" and found.tables == {"mlflow": {"url": "http://x"}, "jsonl": {}}
    with pytest.raises(SettingsError, match="expected a string"):
        load(config={"backend": [1]}, environ={})
