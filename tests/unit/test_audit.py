"""What CI makes of a report about the pinned packages; nothing is looked up here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

AUDIT = Path(__file__).parents[2] / ".ci" / "audit"
SOUND = {"name": "a", "version": "1", "vulns": []}
FLAWED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-0", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(("packages", "code"), [([SOUND], 0), ([SOUND, FLAWED], 1)])
def test_a_known_vulnerability_fails_and_nothing_else(tmp_path: Path, packages: list[Any], code: int) -> None:
    """The package, the advisory and the version that fixes it are named."""
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"dependencies": packages}))
    done = subprocess.run([AUDIT, report], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("b 2: PYSEC-0, fixed in 3" in done.stdout) is bool(code)


def test_without_a_report_nothing_fails(tmp_path: Path) -> None:
    """A machine that reaches no advisory database passes, and says that nothing was audited."""
    done = subprocess.run([AUDIT, tmp_path / "missing.json"], capture_output=True, text=True, check=False)
    assert (done.returncode, "not audited" in done.stdout) == (0, True)
