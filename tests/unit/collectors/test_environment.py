"""The environment's facts: complete, quick, and without secrets."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

import tracelet
from tracelet.collectors.environment import ARGUMENT_CAP, ARGUMENTS_CAP, VARIABLES, EnvironmentCollector

PROGRAM = """
import json, sys
from tracelet.collectors.environment import EnvironmentCollector
loaded = set(sys.modules)
collector = EnvironmentCollector()
facts = collector.collect()
print(json.dumps({"facts": facts, "torch": "torch" in sys.modules, "stale": collector.stale()}))
"""


def run_program(
    folder: Path, *arguments: str, start: tuple[str, ...] = ("prog.py",), **variables: str
) -> dict[str, Any]:
    """Collect in a fresh interpreter and give what it found."""
    (folder / "prog.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(Path(tracelet.__file__).parents[1]), **variables}
    done = subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=folder, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == ""
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_python_machine_and_platform_are_told() -> None:
    """Versions and sizes are those of this interpreter and this machine, and the record can be packed."""
    facts = EnvironmentCollector().collect()
    assert facts["python"]["version"] == platform.python_version()
    assert facts["python"]["executable"] == sys.executable
    assert facts["platform"]["system"] == platform.system()
    assert facts["machine"]["cpu_count"] == os.cpu_count()
    assert facts["machine"]["memory_bytes"] == psutil.virtual_memory().total
    assert facts["machine"]["cpu_model"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(facts)) == facts


def test_packages_are_those_that_importlib_finds() -> None:
    """Reading folder names gives the same answer as reading every package's metadata."""
    expected: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        expected.setdefault(re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower(), distribution.version)
    assert EnvironmentCollector().collect()["packages"] == expected
    assert {"psutil", "pytest", "msgspec"} <= expected.keys()


def test_old_and_broken_installations_do_not_cost_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A develop install tells its version in PKG-INFO; what tells none is left out; the first on the path counts."""
    (tmp_path / "My_Old.egg-info").mkdir()
    (tmp_path / "My_Old.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 1.0\nName: My.Old\nVersion: 0.3\n\nText\n"
    )
    (tmp_path / "single.egg-info").write_text("Name: single\nVersion: 7\n")
    (tmp_path / "nothing.egg-info").mkdir()
    (tmp_path / "psutil-0.0.1.dist-info").mkdir()
    (tmp_path / "local_ver-2.1+cu121.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "missing"))
    packages = EnvironmentCollector().collect()["packages"]
    assert (packages["my-old"], packages["single"], packages["local-ver"]) == ("0.3", "7", "2.1+cu121")
    assert packages["psutil"] == "0.0.1"
    assert "nothing" not in packages


def test_the_command_is_told_without_its_secrets(tmp_path: Path) -> None:
    """Arguments are as typed, secrets are not among them, in neither form of the command line."""
    facts = run_program(tmp_path, "--lr", "0.1", "--api-key", "abc123", "--db=mysql://u:pw@h/x", "token=xyz")["facts"]
    masked = ["--lr", "0.1", "--api-key", "***", "--db=mysql://***@h/x", "token=***"]
    assert facts["command"]["arguments"] == ["prog.py", *masked]
    assert facts["command"]["original"][-len(masked) - 1 :] == ["prog.py", *masked]
    assert facts["command"]["script"] == str(tmp_path / "prog.py")
    assert facts["command"]["folder"] == str(tmp_path)
    assert facts["command"]["interactive"] is False
    assert not re.search("abc123|pw@|xyz", json.dumps(facts))


def test_a_module_started_with_m_is_told_by_its_name(tmp_path: Path) -> None:
    """`python -m prog` has both the module's name and its file."""
    command = run_program(tmp_path, start=("-m", "prog"))["facts"]["command"]
    assert (command["module"], command["script"]) == ("prog", str(tmp_path / "prog.py"))


def test_only_the_listed_variables_are_read(tmp_path: Path) -> None:
    """Job ids are recorded; other variables are not, whatever they hold, and neither are secrets in listed ones."""
    facts = run_program(
        tmp_path, SLURM_JOB_ID="4711", SLURM_JOB_NAME="run --token=hush", MASTER_PORT="29500", RANK="3",
        MY_PRIVATE_VARIABLE="do-not-tell", AWS_SECRET_ACCESS_KEY="never", JOB_ID="just a common name",
    )["facts"]  # fmt: skip
    assert facts["job"]["slurm"] == {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "run --token=***"}
    assert facts["job"]["torchrun"] == {"RANK": "3", "MASTER_PORT": "29500"}
    assert "sge" not in facts["job"]
    assert not re.search("do-not-tell|never|hush|common", json.dumps(facts["job"]))


def test_no_listed_variable_is_one_that_holds_secrets() -> None:
    """The list names ids and switches only."""
    assert not [name for names in VARIABLES.values() for name in names if re.search("TOKEN|KEY|SECRET|PASS|AUTH", name)]


def test_torch_is_not_imported_for_its_facts(tmp_path: Path) -> None:
    """A program without torch stays without it."""
    answer = run_program(tmp_path)
    assert (answer["torch"], answer["stale"]) == (False, False)
    assert "torch" not in answer["facts"]


def test_torch_is_told_once_the_program_has_imported_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the import the facts are without it; afterwards they are stale, and the next answer has it."""
    torch = pytest.importorskip("torch")
    collector = EnvironmentCollector()
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "torch")
        assert "torch" not in collector.collect()
        assert not collector.stale()
    assert collector.stale()
    facts = collector.collect()["torch"]
    assert (facts["version"], facts["cuda"]) == (torch.__version__, torch.version.cuda)
    assert not collector.stale()
    assert not torch.cuda.is_initialized()


def test_huge_command_lines_are_cut_after_masking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a million arguments nor one of a million characters gets into the record, and the cut hides no sign."""
    secret = "sk-" + "a1" * 30
    monkeypatch.setattr(sys, "argv", ["x.py", "b" * (ARGUMENT_CAP - 20) + " " + secret, "y" * 10**6, *["z"] * 5000])
    arguments = EnvironmentCollector().collect()["command"]["arguments"]
    assert len(arguments) == ARGUMENTS_CAP
    assert max(map(len, arguments)) == ARGUMENT_CAP
    assert "sk-a1" not in arguments[1]


def test_a_working_directory_that_is_gone_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is then empty, and everything else is told."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    facts = EnvironmentCollector().collect()
    assert facts["command"]["folder"] == ""
    assert facts["python"]["version"]
    assert facts["packages"]
