"""Copies of other nodes' journals: the names that they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracelet.agent.nodes.journal_copies import JournalCopies
from tracelet.agent.nodes.protocol import CopyStatus, OfferJournal


@pytest.mark.timeout(60)
def test_a_dangling_link_takes_a_name_and_stops_nothing(tmp_path: Path) -> None:
    """A link to nowhere that is named like a journal is left alone; the copy gets the next number."""
    (tmp_path / "rank-1.0.tlj").symlink_to(tmp_path / "nowhere")
    copies = JournalCopies(tmp_path)
    assert copies.offer("node", OfferJournal("rank-1.0.tlj", b"TRACELET")) == CopyStatus(0, 0)
    assert [path.name for path in copies.paths()] == ["rank-1.1.tlj"]
    assert not (tmp_path / "nowhere").exists()
