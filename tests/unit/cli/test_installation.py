"""Packages of others that are installed under our name, found by `tracelet doctor`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from tracelet.errors import install_command

METADATA = "Metadata-Version: 2.1\nName: tracelet\nVersion: 0.0.9\nSummary: A package of another author\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def doctor(*paths: Path) -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON of `tracelet doctor --offline` with these folders on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-m", "tracelet", "doctor", "--offline", "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def install_stranger(target: Path) -> None:
    """A distribution as PyPI's `tracelet` 0.0.9 is: metadata without any code, put there by pip."""
    wheel = target.parent / "tracelet-0.0.9-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tracelet-0.0.9.dist-info/METADATA", METADATA)
        archive.writestr("tracelet-0.0.9.dist-info/WHEEL", WHEEL)
        archive.writestr("tracelet-0.0.9.dist-info/RECORD", "")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120, capture_output=True)


def test_a_package_of_another_author_is_reported(tmp_path: Path) -> None:
    """A distribution `tracelet` that is not ours is a problem, with what to type; our own extras are still known."""
    assert doctor()[1]["other_distributions"] == []
    install_stranger(tmp_path / "site")
    code, found = doctor(tmp_path / "site")
    assert code == 1
    (stranger,) = found["other_distributions"]
    assert (stranger["version"], stranger["folder"]) == ("0.0.9", str(tmp_path / "site"))
    assert stranger["fix"] == f"Type: pip uninstall tracelet, then {install_command()}"
    assert {row["backend"] for row in found["installed"] if row["packages"]} >= {"mlflow", "wandb"}


def test_install_hints_name_the_checkout() -> None:
    """Hints never name the package index, where `tracelet` is a package of somebody else."""
    assert install_command("mlflow").startswith("pip install '.[mlflow]' ")
    assert install_command().startswith("pip install . ")
