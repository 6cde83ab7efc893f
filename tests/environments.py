"""Python environments for programs that tests start: tracelet, the packages named and what these need, and no others.

`import lightning` takes twice the processor time where scipy, matplotlib and transformers are installed, because
torchmetrics imports them too, and every rank of a distributed training imports it. Here is what `pip install lightning`
brings.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
TRACKERS = ".venv-trackers"


@functools.cache
def python(*packages: str) -> str:
    """The interpreter of an environment; made at the first call, removed when this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="tracelet-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for found in _needed(["tracelet", *packages]).values():
        _link(found, site)
    (site / "tracelet.pth").write_text(str(ROOT), encoding="utf-8")
    return str(folder / "bin" / "python")


def lightning_python(*more: str) -> str:
    """Both flavours of Lightning, with them torch, and what else is named."""
    return python("lightning", "pytorch-lightning", *more)


@functools.cache
def trackers_python() -> str:
    """The interpreter with the trackers of `constraints-trackers.txt`; its environment is made if it is not there."""
    subprocess.run(["make", "--silent", f"{TRACKERS}/.ready"], cwd=ROOT, check=True, timeout=600)
    return str(ROOT / TRACKERS / "bin" / "python")


def _needed(names: list[str]) -> dict[str, Distribution]:
    """Distributions by name: these and all that they require here, without extras."""
    found: dict[str, Distribution] = {}
    left = [canonicalize_name(name) for name in names]
    while left:
        name = left.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # required, and not installed here: an environment's own affair
            continue
        wanted = [Requirement(line) for line in found[name].requires or ()]
        left += [
            canonicalize_name(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return found


def _link(found: Distribution, site: Path) -> None:
    for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
        source, link = Path(str(found.locate_file(top))), site / top
        if source.exists() and not link.exists() and source.suffix != ".pth":
            link.symlink_to(source)
