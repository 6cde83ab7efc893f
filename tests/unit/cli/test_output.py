"""What commands print of runs whose texts are hostile."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

import tracelet
from tracelet.journal.records import Event
from tracelet.store.run import Run

Record = Callable[..., Run]
Call = Callable[..., Result]

BARE = {f"track_{name}": False for name in ("lightning", "tensorboard", "system", "git", "env", "spans")}
EVIL = "x\x1b[2J\x1b]0;owned\x07\r\x9b1m\u202ey"
SHOWN = "x\\x1b[2J\\x1b]0;owned\\x07\\x0d\\x9b1m\\u202ey"
OBEYED = ("\x1b", "\x07", "\r", "\x9b", "\u202e")


@pytest.fixture
def hostile() -> Run:
    """A run all of whose texts a terminal would obey, and which failed with one of them."""
    given = {"project": EVIL, "params": {EVIL: EVIL}, "tags": {EVIL: EVIL}}
    experiment = tracelet.start_logging(EVIL, config={**BARE, "quiet": True}, **given)  # type: ignore[arg-type]
    experiment.log_metric(EVIL, 1.0)
    experiment._writer.emit(Event(time=1, name=EVIL, attributes={EVIL: EVIL}))
    error = ValueError(EVIL)
    experiment.__exit__(type(error), error, None)
    return tracelet.open_store().run(experiment.id)


@pytest.mark.parametrize(
    "command", ["ls", "show ID", "show ID --all", "show ID --json", "ls --json", "compare ID other", "top ID --once",
                "sync ID", "doctor --offline", "rm -y ID"],
)  # fmt: skip
def test_texts_of_runs_are_shown_and_not_obeyed(command: str, hostile: Run, record: Record, call: Call) -> None:
    """No command prints an escape sequence or another control character out of a run."""
    record("other", {"loss": [1.0]})
    result = call(*command.replace("ID", hostile.id).split())
    assert [code for code in OBEYED if code in result.output + result.stderr] == []
    if "--json" not in command and command not in ("sync ID", "doctor --offline"):
        assert SHOWN in result.output


def test_messages_do_not_carry_them_either(hostile: Run, call: Call) -> None:
    """An error that names a run's metrics shows their control characters."""
    said = call("show", hostile.id, "--metric", "nothing", code=2).stderr
    assert SHOWN in said
    assert [code for code in OBEYED if code in said] == []


def test_json_still_has_the_texts_as_they_were(hostile: Run, call: Call) -> None:
    """Escaped in JSON's way, so that programs read exactly what was recorded."""
    found = json.loads(call("show", hostile.id, "--json").output)
    assert (found["name"], found["params"], found["tags"]) == (hostile.info.name, hostile.params, hostile.tags)
    assert "\x1b" in found["name"]
