"""Which run of its job `resume="auto"` resumes: one that this program has not finished and that nobody records now.

Called by `resume` on the user's thread. All processes of a launch reach the same answer without communicating, from the
first records of the journals and the last status of the leading process. Reads only.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from tracelet.errors import JournalError
from tracelet.journal.journal_view import JournalView
from tracelet.journal.records import FINISHED, Started
from tracelet.session.rank_environment import Identity
from tracelet.store.pids import is_alive
from tracelet.store.run_ids import short_id

Ranks = Iterable[tuple[Path, Started]]


def program() -> str:
    """The script, as a part of a run's id: programs that follow one another in a job have runs of their own."""
    script = sys.argv[0] if sys.argv else ""
    return os.path.realpath(script) if script and os.path.exists(script) else script


def run_ids(job: str, nth: int) -> Iterable[str]:
    """The ids of this job's runs of this program, in the order in which they are taken."""
    return (short_id(f"job:{job}:{program()}#{nth}" + (f".{turn}" if turn else "")) for turn in count())


def may_resume(earlier: Ranks, me: Identity) -> bool:
    """Whether this process may record into the run that these journals are of."""
    known = list(earlier)
    if not known or _is_same_launch(known, me):
        return True
    last = max(started.branch for _, started in known)
    path, lead = max(
        (one for one in known if one[1].branch == last and not one[1].parent),
        key=lambda one: (-one[1].rank, one[1].attempt), default=known[-1],
    )  # fmt: skip
    if lead.host == socket.gethostname() and is_alive(lead.pid, lead.process_started):
        return False
    try:
        status = JournalView(path).status
    except (OSError, JournalError):
        return True
    return status is None or status.status != FINISHED


def _is_same_launch(known: list[tuple[Path, Started]], me: Identity) -> bool:
    """Whether other processes of this launch record there; a later launch of the same group has ended ranks there."""
    mine = [started for _, started in known if started.launch == me.launch]
    if not me.recurring:
        return bool(mine)
    last = max((started.branch for started in mine), default=0)
    return bool(mine) and not any(one.rank == me.rank and not one.parent and one.branch == last for one in mine)
