"""Files of wandb's own that a kill has cut, at every kind of place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.backends.wandb.offline_file import BLOCK, FILE_HEADER, OfflineFile
from tracelet.backends.wandb.sdk_session import calling, quiet_settings

ROWS = 120


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the SDK writes of a run: three blocks, with records that go over the end of a block."""
    folder = tmp_path_factory.mktemp("wandb")
    with calling(folder):
        import wandb

        run = wandb.init(id="cut", mode="offline", dir=str(folder), settings=quiet_settings({}))
        for step in range(ROWS):
            run.log({"loss": 1 / (step + 1), "text": "x" * 500}, step=step)
        run.finish()
        wandb.teardown()
    (path,) = folder.glob("wandb/offline-run-*/run-cut.wandb")
    return path.read_bytes()


def rows(path: Path) -> list[int]:
    """The steps of the rows that are whole."""
    return [step for step, _ in OfflineFile(path).rows()]


def records(data: bytes, path: Path) -> list[int]:
    """Where each record ends."""
    path.write_bytes(data)
    spool = OfflineFile(path)
    return [spool._place for _ in spool._records()]


def test_half_a_record_at_the_end_is_removed(written: bytes, tmp_path: Path) -> None:
    """Wherever a file is cut, it ends with its last whole record afterwards, and no whole record is lost."""
    path = tmp_path / "run-cut.wandb"
    ends = records(written, path)
    assert len(written) > 2 * BLOCK
    assert rows(path) == list(range(ROWS))
    borders = [end for border in (BLOCK, 2 * BLOCK) for end in range(border - 12, border + 12)]
    for cut in [*range(ends[1], 2000, 13), *(end + more for end in ends[1:60:7] for more in (0, 1, 6, 7, 8)), *borders]:
        path.write_bytes(written[:cut])
        before = rows(path)
        spool = OfflineFile(path)
        spool.read()
        spool.drop_incomplete()
        left, whole = path.read_bytes(), max(end for end in ends if end <= cut)
        assert left[:whole] == written[:whole]
        assert len(left) == whole or left == written[:cut]
        assert len(left) - whole < 7, f"cut at {cut}"
        assert rows(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_file_without_a_run_is_removed(written: bytes, tmp_path: Path) -> None:
    """The SDK was killed before it had written which run this is: nothing of the file is of use."""
    path = tmp_path / "run-cut.wandb"
    header = records(written, path)[0]
    for cut in (0, 3, FILE_HEADER, FILE_HEADER + 20, header, header + 20):
        path.write_bytes(written[:cut])
        spool = OfflineFile(path)
        spool.read()
        spool.drop_incomplete()
        assert not path.exists(), f"cut at {cut}"


def test_other_files_stay_as_they_are(written: bytes, tmp_path: Path) -> None:
    """A whole file is left alone, and so is one that holds something unreadable before its end."""
    path = tmp_path / "run-cut.wandb"
    ends = records(written, path)
    broken = bytearray(written)
    broken[ends[9] + 6] = 0  # the kind of a record
    for content in (written, bytes(broken)):
        path.write_bytes(content)
        spool = OfflineFile(path)
        spool.read()
        spool.drop_incomplete()
        assert path.read_bytes() == content
