"""`tracelet mcp`, as an assistant speaks with it: the SDK's own client over stdin and stdout."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

import tracelet
from tests.unit.ui.conftest import BARE
from tracelet.store.run import Run

Record = Callable[..., Run]
pytest.importorskip("mcp")


async def _conversation(calls: list[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[tuple[bool, Any]]]:
    from mcp import Client, StdioServerParameters

    command = StdioServerParameters(command=sys.executable, args=["-m", "tracelet", "mcp"], env=dict(os.environ))
    answers = []
    async with Client(command) as client:
        tools = (await client.list_tools()).tools
        for name, arguments in calls:
            result = await client.call_tool(name, arguments)
            text = getattr(result.content[0], "text", "")
            answers.append((bool(result.is_error), text if result.is_error else json.loads(text)))
    return tools, answers


def test_an_assistant_reads_a_store(record: Record) -> None:
    """It lists, filters, compares and shows runs; series are downsampled; an error says what to do; it only reads."""
    record("good", {"loss": [1.0 / (step + 1) for step in range(5000)], "odd": [float("nan")]}, params={"lr": 0.1})
    record("bad", {"loss": [2.0]}, params={"lr": 0.2}, error=ValueError("broken"))
    with tracelet.start_logging("printing", config={**BARE, "quiet": True}):
        tracelet.define_metric("loss", goal="min")
        tracelet.log({"loss": 0.5}, step=0)
        print("epoch 1 of 3")
        with tracelet.span("work"):
            pass
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_runs", {"filter": "status:failed"}), ("show_run", {"run": "bad"}),
        ("compare_runs", {"runs": ["good", "bad"]}), ("read_metric", {"run": "good", "metric": "loss", "points": 50}),
        ("read_metric", {"run": "good", "metric": "lss"}), ("read_log", {"run": "printing", "search": "EPOCH"}),
        ("show_run", {"run": "printing"}), ("list_runs", {"filter": "statsu:failed"}), ("show_run", {"run": "good"}),
    ]  # fmt: skip
    tools, answers = asyncio.run(_conversation(calls))
    assert {tool.name for tool in tools} == {
        "list_runs", "show_run", "compare_runs", "read_metric", "explain_time", "read_log",
    }  # fmt: skip
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)
    failed, shown, compared, series, unknown, log, goal, misspelt, odd = answers
    assert [run["name"] for run in failed[1]["runs"]] == ["bad"]
    assert "ValueError: broken" in shown[1]["traceback"]
    assert compared[1]["params"] == {"lr": [0.1, 0.2]}
    assert (series[1]["count"], series[1]["step"][-1], len(series[1]["step"]) <= 60) == (5000, 4999, True)
    assert unknown[0]
    assert "It has: loss, odd" in unknown[1]
    assert [line["text"] for line in log[1]["lines"]] == ["epoch 1 of 3"]
    assert goal[1]["goals"] == {"loss": "min"}
    assert (misspelt[0], "Did you mean 'status'" in misspelt[1]) == (True, True)
    assert odd[1]["metrics"]["odd"]["last"] == "NaN"
