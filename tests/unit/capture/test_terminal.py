"""Lines as a terminal would show them."""

from __future__ import annotations

import contextlib
import io

import pytest

from tracelet.capture.terminal import MAX_LINE, MAX_ROWS_ABOVE, Terminal


def shown(*texts: str) -> list[str]:
    """What stands there after these writes."""
    terminal = Terminal()
    for time, text in enumerate(texts):
        terminal.feed(text, time)
    return [terminal.take(row)[1] for row in terminal.changed()]


@pytest.mark.parametrize(
    ("texts", "lines"),
    [
        (["one\ntwo\n"], ["one", "two"]),
        (["no ", "end"], ["no end"]),
        (["\n\nx\n"], ["", "", "x"]),
        (["step 1\rstep 2\rstep 10\n"], ["step 10"]),
        (["abcdef\rxy\n"], ["xycdef"]),
        (["ab\bc\n"], ["ac"]),
        (["windows\r\nlines\r\n"], ["windows", "lines"]),
        (["\x1b[1;31mred\x1b[0m plain\n"], ["red plain"]),
        (["\x1b]8;;http://x\x07link\x1b]8;;\x1b\\\n"], ["link"]),
        (["split \x1b[3", "1mcolour\n"], ["split colour"]),
        (["long gone\r\x1b[2Kshort\n"], ["short"]),
        (["outer 0\ninner 0\x1b[A\router 1\n\rinner 1\n"], ["outer 1", "inner 1"]),
        (["tab\tand \x00\x07bell\n"], ["tab\tand bell"]),
        (["\x1b[999999999Aup\n"], ["up"]),
    ],
)
def test_a_stream_becomes_the_lines_that_a_terminal_shows(texts: list[str], lines: list[str]) -> None:
    """Carriage returns overwrite, cursors move, colours vanish, whatever the writes were cut into."""
    assert shown(*texts) == lines


def test_a_long_line_is_cut_and_says_so() -> None:
    """Of an endless line the beginning is kept, with the number of characters that are not."""
    (line,) = shown("x" * MAX_LINE, "y" * 100)
    assert line == "x" * MAX_LINE + " ... (100 more characters)"


def test_a_line_keeps_the_time_at_which_it_began() -> None:
    """A bar that is drawn again is the same line, begun when it was drawn first."""
    terminal = Terminal()
    terminal.feed("10%", 5)
    assert terminal.take(0) == (5, "10%")
    terminal.feed("\r20%", 9)
    assert terminal.changed() == [0]
    assert terminal.take(0) == (5, "20%")


def test_memory_is_bounded() -> None:
    """Lines that were taken and are far above the cursor are forgotten."""
    terminal = Terminal()
    for _ in range(20):
        terminal.feed("line\n" * 1000, 0)
        for row in terminal.changed():
            terminal.take(row)
        terminal.discard_final()
        assert len(terminal._rows) <= MAX_ROWS_ABOVE + 1


def test_tqdm_bars_end_as_one_line_each() -> None:
    """Nested bars of tqdm are one line each, as they stood last, in the order in which they stay in a terminal."""
    tqdm = pytest.importorskip("tqdm")
    written = io.StringIO()
    with contextlib.closing(written):
        outer = tqdm.tqdm(total=3, file=written, position=0, desc="outer", mininterval=0, ascii=True)
        for _ in range(3):
            inner = tqdm.tqdm(total=20, file=written, position=1, desc="inner", mininterval=0, ascii=True)
            for _ in range(20):
                inner.update()
            inner.close()
            outer.update()
        outer.close()
        found = [line for line in shown(written.getvalue()) if line]
    assert [line.partition(":")[0] for line in found] == ["inner", "inner", "inner", "outer"]
    assert all("100%" in line for line in found)
