"""What the training process sends its agent: lines of JSON through a pipe, so that credentials never touch the disk.

Imported by both processes; imports little.
"""

from __future__ import annotations

from typing import Any

import msgspec

LOG = "agent.log"
"""The name of the agent's log in the run's folder."""


class BackendConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where to deliver: a backend's name, its class, and its options, including credentials."""

    name: str
    reference: str
    options: dict[str, Any] = {}


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """The address on which the agent of rank 0's node listens, and the secret that all nodes of the launch share."""

    addresses: list[tuple[str, int]]
    secret: str


class AgentConfig(msgspec.Struct, kw_only=True):
    """The first line is complete; a later one adds backends or other nodes."""

    journal: str = ""
    """The training's journal."""
    pid: int = 0
    """The root of the processes whose share of the machine is sampled."""
    collectors: list[str] = []
    interval: float = 10.0
    linger: float = 600.0
    """Seconds to keep trying after the end of the training."""
    rank_deadline: float = 30.0
    """Seconds to wait for a rank that has not written its part of a step."""
    backends: list[BackendConfig] = []
    path: list[bytes] = []
    """The training's import path: the SDKs are there. Bytes, because a folder's name need not be text."""
    alerts: list[str] = []
    """Addresses of apprise, with their credentials; empty on other nodes than that of rank 0."""
    alert_rules: str = ""
    receive: bool = False
    """Listen for nodes that do not share the run's folder."""
    listen_address: str = ""
    """The address of the interface to listen on; empty: all of them."""
    leader: Leader | None = None
    """Send this node's journals there."""
