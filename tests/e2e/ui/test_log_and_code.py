"""What a run printed, what was changed in the code, where it was delivered: in the browser, on real trainings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tracelet
from tests.e2e.ui.browser import Page, left_in_peace, served

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
import tracelet
config = {"mlflow": {"url": "http://127.0.0.1:9"}}
with tracelet.start_logging(sys.argv[1], backend=["jsonl", "mlflow"], config=config) as run:
    for epoch in range(1500):
        print(f"epoch {epoch}: loss {1 / (epoch + 1):.3f}")
    print("<b>bold</b><script>window.hacked=1</script>", file=sys.stderr)
    for step in range(50):
        print(f"\\r{step}/50", end="", file=sys.stderr)
    run.log_metrics({"loss": 0.5, "accuracy": 0.9}, step=1)
# RATE = 1
"""


def git(folder: Path, *arguments: str) -> None:
    """Run git as its user would."""
    author = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *author, *arguments], check=True, capture_output=True)


@pytest.fixture
def trained(tmp_path: Path, environment: dict[str, str]) -> tuple[Path, dict[str, str], dict[str, str]]:
    """A store with the runs of two states of a repository's program: store, environment, ids."""
    code = tmp_path / "code"
    code.mkdir()
    variables = {**environment, "TRACELET_DIR": str(tmp_path / "store")}
    program = code / "train.py"
    git(code, "init", "-q")
    program.write_text(SCRIPT, encoding="utf-8")
    git(code, "add", ".")
    git(code, "commit", "-qm", "first")
    for name, change in (("before", "1"), ("after", "2")):
        program.write_text(SCRIPT.replace("RATE = 1", f"RATE = {change}"), encoding="utf-8")
        command = [sys.executable, "-W", "ignore", str(program), name]
        subprocess.run(command, env=variables, cwd=code, check=True, timeout=120, capture_output=True)
    store = tmp_path / "store"
    subprocess.run(
        [sys.executable, "-m", "tracelet", "sync", "after", "--patience", "1", "--dir", str(store)],
        env=variables, cwd=code, check=False, timeout=120, capture_output=True,
    )  # fmt: skip
    return store, variables, {run.info.name: run.id for run in tracelet.open_store(store).runs()}


def test_log_code_deliveries_and_changes(
    page: Page, trained: tuple[Path, dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    """The log shows its end, more of it and what is searched for; code is compared; edits are seen by all readers."""
    store, environment, ids = trained
    with served(store, environment) as address:
        there = Page(page.driver, address)
        there.open(f"/run/{ids['after']}?tab=log")
        there.until("document.querySelectorAll('.tl-line').length === 1000")
        assert "49/50" in there.text(".tl-console")
        assert "<b>bold</b><script>" in there.text(".tl-console")
        assert there.run("return window.hacked") is None
        there.run("document.querySelector('.tl-earlier').click()")
        there.until("document.querySelectorAll('.tl-line').length === 1502")
        there.run(
            "const box = document.querySelector('.tl-bar input');"
            "box.value = 'EPOCH 77:'; box.dispatchEvent(new Event('input'))"
        )
        assert "epoch 77: loss 0.013" in there.until(
            "document.querySelectorAll('.tl-line').length === 1 && document.querySelector('.tl-line').innerText"
        )
        there.open(f"/run/{ids['after']}?tab=deliveries")
        told = there.text("#panel")
        assert "Everything is delivered" in told
        assert "Pending\n30" in told
        assert f"tracelet sync {ids['after']} --backend mlflow" in told
        there.open(f"/compare?run={ids['after']}&run={ids['before']}")
        there.until("document.querySelector('.tl-changes')?.dataset.description")
        assert [line for line in there.text(".tl-changes").splitlines() if "RATE" in line] == [
            "-# RATE = 1",
            "+# RATE = 2",
        ]
        there.open("/")
        there.click("Columns")
        there.run("document.querySelector('dialog input[value=\"l:loss\"]').click()")
        there.click("Apply", "dialog")
        assert "min loss" in there.until(
            "document.querySelectorAll('.tl-name a').length === 2 && document.body.innerText"
        )
        there.open(f"/run/{ids['after']}")
        there.click("Tags")
        there.run("document.querySelector('dialog .tl-pair input').value = 'kept'")
        there.click("Save", "dialog")
        there.until("document.querySelector('.tl-under .tl-tag')?.innerText === 'kept'")
        there.click("Rename")
        there.run("document.querySelector('dialog input').value = 'the best'")
        there.click("Save", "dialog")
        there.until("document.querySelector('h1').innerText === 'the best'")
        there.click("☆ Pin")
        there.until("document.querySelector('[aria-pressed=true]')")
        assert there.problems() == []
        left_in_peace(there.driver)
    listed = subprocess.run(
        [sys.executable, "-m", "tracelet", "ls", "--json", "--dir", str(store)], env=environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    first = json.loads(listed.stdout)[0]
    assert (first["name"], first["pinned"], first["tags"]) == ("the best", True, {"kept": "true"})
