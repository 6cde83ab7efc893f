"""The end of a training on several nodes: waits, within a limit, until the other nodes' records are on rank 0's node.

Runs on the user's thread and reads two small files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tracelet.agent.nodes.journal_receiver import read_endpoint
from tracelet.agent.nodes.journal_sender import FORWARDING, read_state

TIMEOUT = 5.0
"""Seconds. The agents continue afterwards, unless a cluster ends them together with the job."""
POLL = 0.05
CHECK_INTERVAL = 1.0
"""Seconds between two checks whether the agent is alive."""


def wait_for_nodes(folder: Path, is_leader: bool, deadline: float, is_agent_alive: Callable[[], bool]) -> bool:
    """Wait, at most until `deadline` (monotonic clock); whether everything has arrived. Ctrl-C ends the wait."""
    deadline, asked = min(deadline, time.monotonic() + TIMEOUT), 0.0
    try:
        while _is_incomplete(folder, is_leader):
            now = time.monotonic()
            if now >= deadline or (now - asked > CHECK_INTERVAL and not is_agent_alive()):
                return not _is_incomplete(
                    folder, is_leader
                )  # it may have arrived, and the agent exited, since the last check
            asked = now if now - asked > CHECK_INTERVAL else asked
            time.sleep(POLL)
    except KeyboardInterrupt:
        return False
    return True


def _is_incomplete(folder: Path, is_leader: bool) -> bool:
    if is_leader:
        endpoint = read_endpoint(folder, must_be_alive=True)
        return endpoint is not None and not endpoint.settled
    state = read_state(folder)
    return state is None or state.state == FORWARDING
