"""Lines of the page about a run that stand for a whole record: a delivery, the machine. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracelet.cli.formatting import counted, size
from tracelet.store.delivery_state import Delivery


def delivery_line(found: Delivery) -> str:
    """State, points, address and error of one delivery."""
    parts = [f"{found.state}, {counted(found.points, 'point')}", found.url]
    if found.rejected:
        parts.append(f"{found.rejected:,} rejected")
    return ", ".join(part for part in (*parts, f"{found.error} {found.fix}".strip()) if part)


def machine_lines(environment: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Python, platform, hardware and CUDA, each with its label."""
    python, platform = environment.get("python") or {}, environment.get("platform") or {}
    machine, torch = environment.get("machine") or {}, environment.get("torch") or {}
    yield "python", f"{python.get('version', '?')} in {python.get('prefix', '?')}"
    yield "platform", f"{platform.get('system', '?')} {platform.get('release', '')} {platform.get('architecture', '')}"
    memory = size(machine["memory_bytes"]) if machine.get("memory_bytes") else "unknown memory"
    yield "machine", f"{machine.get('cpu_count', '?')} x {machine.get('cpu_model', 'CPU')}, {memory}"
    if torch.get("cuda"):
        yield "cuda", str(torch["cuda"])
