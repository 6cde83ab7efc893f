"""`tracelet time` on a run whose program names what it does with spans of its own."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

import tracelet
from tracelet import telemetry
from tracelet.cli import main

SETTINGS = {"track_git": False, "track_env": False, "track_system": False, "delivery": "off", "quiet": True}


def test_spans_of_the_program_have_rows() -> None:
    """The table and the JSON name them, and all parts together are still the whole time."""
    with tracelet.start_logging("named", config=SETTINGS):
        with tracelet.span("preprocess"):
            time.sleep(0.05)
        with telemetry.training_loop():
            for _ in range(3):
                with telemetry.training_iteration(), tracelet.span("augment"):
                    time.sleep(0.03)
    page = CliRunner().invoke(main, ["time", "latest"]).output
    assert [row for row in ("preprocess", "augment", "other") if f"\n{row} " not in page] == []
    (process,) = json.loads(CliRunner().invoke(main, ["time", "latest", "--json"]).output)["processes"]
    assert process["parts"]["preprocess"] >= 0.05 and process["parts"]["augment"] >= 0.09
    assert sum(process["parts"].values()) == pytest.approx(process["total"])
