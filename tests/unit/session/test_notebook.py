"""What belongs to a notebook, outside one."""

from __future__ import annotations

import pytest

import tracelet
from tracelet.session import notebook
from tracelet.session.notebook import Cell


@pytest.mark.parametrize(
    ("earlier", "later", "repeats"),
    [
        (Cell(1, "a", "/tmp/1.py"), Cell(2, "a", "/tmp/2.py"), True),  # changed and executed again
        (Cell(1, "a", "/tmp/1.py"), Cell(2, "b", "/tmp/1.py"), False),  # a copy of it
        (Cell(1, "", "/tmp/1.py"), Cell(2, "", "/tmp/1.py"), True),
        (Cell(1, "", "/tmp/1.py"), Cell(2, "", "/tmp/2.py"), False),
        (Cell(1, "", ""), Cell(2, "", ""), False),  # a thread, whose cell nobody knows
        (Cell(1, "a", "/tmp/1.py"), Cell(1, "a", "/tmp/1.py"), False),  # twice in one execution
    ],
)
def test_which_cell_is_executed_again(earlier: Cell, later: Cell, repeats: bool) -> None:
    """By what the notebook calls it, else by its text; never within one execution."""
    assert later.is_rerun_of(earlier) is repeats
    assert not later.is_rerun_of(None)


def test_outside_a_kernel_there_is_no_cell(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is shown, no thread is started, and a second start is what it always was."""
    assert notebook.shell() is None
    assert notebook.current_cell() is None
    assert notebook.error_from_cell(None, None) is None
    with tracelet.start_logging("plain") as run:
        assert tracelet.start_logging("plain") is run
    assert "running" not in capsys.readouterr().out


def test_only_errors_of_the_cell_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that was shown counts if it passed through the cell's text."""
    error = ValueError("boom")
    try:
        raise error
    except ValueError:
        monkeypatch.setattr("sys.last_value", error, raising=False)
    assert notebook.error_from_cell(Cell(1, "", __file__), None) is error
    assert notebook.error_from_cell(Cell(1, "", __file__), error) is None
    assert notebook.error_from_cell(Cell(1, "", "/tmp/other.py"), None) is None
    assert notebook.error_from_cell(Cell(1, "a", ""), None) is None
