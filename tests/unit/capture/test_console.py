"""What is printed is recorded, and nobody notices."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

import tracelet
from tracelet.capture import console
from tracelet.capture.console import ConsoleCapture, StreamRecorder
from tracelet.capture.running_fits import RunningFits
from tracelet.capture.sink import DeferredRecords, Item
from tracelet.journal.records import Console, Notice, Record


class Kept:
    """A sink that makes the records at once when it is asked to."""

    def __init__(self) -> None:
        self.items: list[DeferredRecords] = []
        self.fits = RunningFits(lambda change: None)

    def emit(self, item: Item) -> None:
        """Keep it."""
        assert isinstance(item, DeferredRecords)
        self.items.append(item)

    def flush(self, timeout: float | None = None) -> bool:
        """Nothing to do."""
        return True

    def expect(self, status: str, reason: str) -> None:
        """Nothing to do."""

    def records(self) -> list[Record]:
        """What there is now."""
        items, self.items = self.items, []
        return [record for item in items for record in item.records()]

    def texts(self) -> list[str]:
        """The lines of it."""
        return [text for record in self.records() if isinstance(record, Console) for _, _, text in record.lines]


@pytest.fixture
def kept() -> Kept:
    """A sink."""
    return Kept()


def test_streams_are_covered_and_uncovered(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams stay the objects that they are, printing gives what it gave, and stopping leaves no trace."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    listening = ConsoleCapture(kept)
    listening.start()
    assert sys.stdout is out
    assert sys.stdout.write("four") == 4
    print(" and more", 1.5)
    sys.stderr.writelines(["a\n", "b\n"])
    assert kept.texts() == ["four and more 1.5", "a", "b"]
    listening.stop()
    assert (out.getvalue(), err.getvalue()) == ("four and more 1.5\n", "a\nb\n")
    assert "write" not in vars(out)
    assert "write" not in vars(err)
    print("unheard")
    assert kept.texts() == []


def test_what_was_covered_by_others_stays_theirs(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `write` of somebody else, below ours or over it, is where it was when we leave."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    heard: list[str] = []
    original = out.write

    def below(text: str) -> int:
        heard.append(text)
        return original(text)

    monkeypatch.setattr(out, "write", below)
    listening = ConsoleCapture(kept)
    listening.start()
    listening.stop()
    assert vars(out)["write"] is below
    listening.start()
    ours = out.write

    def above(text: str) -> int:
        return ours(text)

    monkeypatch.setattr(out, "write", above)
    listening.stop()
    assert out.write("x") == 1
    assert (heard, out.getvalue(), kept.texts()) == (["x"], "x", [])


def test_errors_of_the_stream_are_the_users(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the stream refuses it refuses, and nothing is recorded of it."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    listening = ConsoleCapture(kept)
    listening.start()
    with pytest.raises(TypeError, match="string argument expected"):
        sys.stdout.write(5)  # type: ignore[arg-type]
    out.close()
    with pytest.raises(ValueError, match="closed file"):
        print("late")
    assert kept.texts() == []
    listening.stop()


class Slotted:
    """A stream that takes no attributes."""

    __slots__ = ()

    def write(self, text: str) -> int:
        """Nothing."""
        return len(text)


class OneSlot:
    """A stream whose `write` may be replaced, without a dictionary that would tell us what stood there."""

    __slots__ = ("write",)

    def __init__(self) -> None:
        self.write = len


@pytest.mark.parametrize("stream", [None, Slotted(), OneSlot()])
def test_streams_that_cannot_be_listened_to_are_left_alone(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, stream: Any
) -> None:
    """Without a stream, or with one that takes no attributes, the other one is recorded all the same."""
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    before = getattr(stream, "write", None)
    listening = ConsoleCapture(kept)
    listening.start()
    print("heard", file=sys.stderr)
    assert kept.texts() == ["heard"]
    listening.stop()
    assert getattr(stream, "write", None) == before
    assert "write" not in vars(sys.stderr)


def test_a_bar_is_recorded_now_and_then_and_at_the_end(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that goes on changing is recorded first, every few seconds, and as it stands when the run ends."""
    clock = [1000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])
    recorder = StreamRecorder("stderr", kept)
    found = []
    for step in range(100):
        recorder.write(f"\r{step}%")
        clock[0] += 0.2
        found += kept.texts()
    recorder.close()
    found += kept.texts()
    assert (found[0], found[-1]) == ("0%", "99%")
    assert len(found) <= 100 * 0.2 / (console.UPDATE_INTERVAL / 1e6) + 2


def test_too_much_is_counted_and_left_out(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that prints without end costs bounded memory and disk; how many lines are missing is written down."""
    monkeypatch.setattr(console, "BURST", 10_000)
    monkeypatch.setattr(console, "RATE", 1)
    recorder = StreamRecorder("stdout", kept)
    lines = 0
    for _ in range(300):
        recorder.write("a line of forty characters, or about so\n" * 100)
        lines += 100
    assert sum(len(text) for _, text in recorder._pieces) <= console.MAX_BUFFERED + 5000
    recorded = kept.texts()
    recorder.write("a last line that is longer than what is left to be recorded\n")
    recorder.close()
    (notice,) = kept.records()
    assert 100 < len(recorded) < 300
    assert isinstance(notice, Notice)
    assert notice.count == lines + 1 - len(recorded)
    assert recorder._terminal.row == lines + 1


def test_a_forked_child_is_not_recorded(kept: Kept) -> None:
    """What a forked child prints stays out of the record of its parent."""
    recorder = StreamRecorder("stdout", kept)
    recorder._pid = os.getpid() + 1
    recorder.write("of a child\n")
    assert kept.items == []


def test_secrets_are_masked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys by their shape, by their name and by what the environment holds do not get into the journal."""
    monkeypatch.setenv("MY_API_KEY", "s3cretpassw0rd")
    with tracelet.start_logging("quiet", config={"dir": str(tmp_path), "delivery": "off", "track_system": False}):
        print("hf_token=hf_abcdefghijklmnopqrstuvwxyz012345", "and s3cretpassw0rd")
        print("-----BEGIN PRIVATE KEY-----\nMIIabc\nMIIdef\n-----END PRIVATE KEY-----")
    run = tracelet.open_store(tmp_path).run("latest")
    whole = "".join(path.read_bytes().decode("latin-1") for path in run.path.glob("*.tlj*"))
    told = "\n".join(line.text for line in run.console("stdout"))
    assert "hf_token=***" in told
    for secret in ("abcdefghijklmnop", "s3cretpassw0rd", "MIIabc"):
        assert secret not in told
        assert secret not in whole
    assert "s3cretpassw0rd" in capsys.readouterr().out


def test_lines_after_a_masked_key_keep_their_numbers(kept: Kept) -> None:
    """A secret of several lines is one line and empty ones; what was printed after it stays where it was."""
    recorder = StreamRecorder("stdout", kept)
    recorder.write("before\n-----BEGIN PRIVATE KEY-----\nMIIabc\nMIIdef\n-----END PRIVATE KEY-----\nloss 1\nloss 2\n")
    lines = {number: text for one in kept.records() if isinstance(one, Console) for number, _, text in one.lines}
    assert (lines[0], lines[5], lines[6]) == ("before", "loss 1", "loss 2")
    assert "MII" not in "".join(lines.values())


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 40])
def test_a_private_key_is_masked_however_the_writer_comes_by(kept: Kept, pieces: int) -> None:
    """Printed over several visits of the writer it is as gone as in one, and what follows is there."""
    body = "".join(f"MII{'x' * 40}{number}\n" for number in range(4))
    key = f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{body}-----END RSA PRIVATE KEY-----\n"
    text = f"before\n{key}loss 1\nloss\n{key}loss 2\n"
    recorder = StreamRecorder("stdout", kept)
    lines: dict[int, str] = {}
    told: list[str] = []
    size = len(text) // pieces
    for start in range(0, len(text), size):
        recorder.write(text[start : start + size])
        if start + size >= len(text):
            recorder.close()
        found = [line for one in kept.records() if isinstance(one, Console) for line in one.lines]
        told += [line for _, _, line in found]
        lines.update({number: line for number, _, line in found})
    assert not [line for line in told if "xxx" in line or "Proc" in line]
    assert [number for number, line in lines.items() if line in ("before", "loss 1", "loss", "loss 2")] == [
        0,
        9,
        10,
        19,
    ]


def test_a_private_key_that_only_begins_hides_no_more_than_what_may_be_one(kept: Kept) -> None:
    """Lines that cannot stand in a key are recorded again from the writer's next visit on."""
    recorder = StreamRecorder("stdout", kept)
    recorder.write("no -----BEGIN PRIVATE KEY----- in x.pem\n")
    assert kept.texts()
    recorder.write("epoch 1: loss 0.5\nword\n")
    assert kept.texts() == ["epoch 1: loss 0.5", "word"]


def test_it_can_be_switched_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With track_console off nothing is recorded and the streams are not touched."""
    settings = {"dir": str(tmp_path), "delivery": "off", "track_system": False, "track_console": False}
    with tracelet.start_logging("quiet", config=settings):
        assert "write" not in vars(sys.stdout)
        print("unheard")
    assert tracelet.open_store(tmp_path).run("latest").console() == []
