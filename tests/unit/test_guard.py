"""Our failures stay ours: counted, said once, and the user's interrupts pass."""

from __future__ import annotations

import os

import pytest

from tracelet import guard


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the user is told."""
    said: list[str] = []
    monkeypatch.setattr(guard.logger, "warning", lambda text, *values: said.append(text % values))
    return said


@pytest.mark.allow_guarded
def test_a_failure_is_swallowed_counted_and_said_once(messages: list[str]) -> None:
    """An exception of ours ends at the guard; the message says what failed and that the program is not affected."""
    for _ in range(3):
        with guard.guard("doing 100% of x"):
            raise ValueError("boom %s")
    assert guard.failures["doing 100% of x"] == 3
    assert len(messages) == 1
    assert "doing 100% of x failed (ValueError: boom %s). Your program is not affected" in messages[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_pass(error: type[BaseException]) -> None:
    """What is not an Exception belongs to the user and is never swallowed."""
    with pytest.raises(error), guard.guard("doing x"):
        raise error
    assert not guard.failures


def test_a_new_run_may_say_it_again(messages: list[str]) -> None:
    """After a reset the same thing is said again, and counts begin at zero."""
    guard.say("a", once="key")
    guard.say("a", once="key")
    guard.reset()
    guard.say("a", once="key")
    guard.say("b")
    assert messages == ["tracelet: a", "tracelet: a", "tracelet: b"]


def test_a_forked_child_can_speak() -> None:
    """Nothing that another thread held at the fork keeps a child from saying something once."""
    child = os.fork()
    if child == 0:
        guard.logger.disabled = True
        guard.say("x", once="child")
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
