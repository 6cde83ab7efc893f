"""docs/collectors.md tells every figure and every fact, and none that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from tracelet.collectors import git
from tracelet.collectors.environment import EnvironmentCollector
from tracelet.collectors.git import GitCollector
from tracelet.collectors.gpu import QUERIES
from tracelet.collectors.system import SystemCollector
from tracelet.store import git_commands

PAGE = (Path(__file__).parents[3] / "docs" / "collectors.md").read_text(encoding="utf-8")
RARE = {"system/memory_limit_percent", "system/swap_used_bytes"}
"""Told only where there is a limit, or swap."""


def test_the_table_of_the_system_is_what_is_sampled() -> None:
    """Each metric of a second sample has a row, and each row is a metric."""
    collector = SystemCollector()
    collector.start()
    found = {f"system/{name}" for _ in range(2) for name in collector.sample()}
    told = set(re.findall(r"^\| `(system/\w+)` \|", PAGE, re.MULTILINE))
    assert found <= told
    assert {name for name in told - found if not name.endswith(("_per_second", "cpu_percent"))} <= RARE


def test_the_table_of_the_gpu_has_a_row_for_each_query() -> None:
    """Each figure that a query's code names has a row, and each row is such a figure."""
    named = {
        constant
        for query in QUERIES
        for constant in query.__code__.co_consts
        for constant in (constant if isinstance(constant, tuple) else (constant,))
        if isinstance(constant, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", constant)
    }
    told = set(re.findall(r"^\| `gpu/N/(\w+)` \|", PAGE, re.MULTILINE))
    assert named == told - {"process_memory_bytes"}


def test_sizes_and_facts_of_git_are_told(tmp_path: Path) -> None:
    """The caps on the page are those of the code, and every fact is in its table."""
    assert f"cut at {git.DIFF_CAP // 1024} KiB" in PAGE
    assert f"cut at {git.UNTRACKED_CAP // 1024} KiB" in PAGE
    assert f"within {git_commands.TIMEOUT:.0f} seconds" in PAGE
    git_commands.run(tmp_path, "init", "-q")
    table = PAGE.partition("## Git")[2].partition("## Environment")[0]
    assert [name for name in GitCollector(tmp_path).collect() if f"`{name}`" not in table] == []


def test_facts_of_the_environment_are_told() -> None:
    """Every part of the answer is in the table."""
    table = PAGE.partition("## Environment")[2]
    assert [name for name in EnvironmentCollector().collect() if f"| `{name}` |" not in table] == []
