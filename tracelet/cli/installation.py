"""The installed packages: our own distribution, others that share its name, and the packages that each backend needs.

Called by `doctor` on the main thread. Reads package metadata only: imports nothing, installs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distributions, entry_points, version
from typing import Any

from tracelet import registry
from tracelet.errors import install_command

COMMAND = "tracelet.cli:main"
"""The console script of our distribution, which another author's package of the same name lacks."""
REQUIREMENT = re.compile(r"""([\w.-]+).*extra\s*==\s*["']([\w.-]+)["']""")


def foreign_distributions() -> Iterator[dict[str, Any]]:
    """Installed distributions named `tracelet` that are not ours, such as those on PyPI."""
    seen: set[str] = set()
    for found in distributions(name="tracelet"):
        folder = str(found.locate_file(""))
        if folder not in seen and not _is_ours(found):
            seen.add(folder)  # sys.path may contain a folder twice
            yield {
                "version": found.version, "folder": folder, "ok": False,
                "fix": f"Type: pip uninstall tracelet, then {install_command()}",
            }  # fmt: skip


def backend_packages() -> Iterator[dict[str, Any]]:
    """Every backend, and the versions of the packages that it needs."""
    extras = _extras()
    for name in registry.BACKENDS:
        versions = {package: _version(package) for package in extras.get(name, [])}
        missing = [package for package, found in versions.items() if not found]
        fix = install_command(name) if missing else ""
        yield {"backend": name, "packages": versions, "installed": not missing, "fix": fix}
    for point in entry_points(group="tracelet.backends"):
        yield {"backend": point.name, "packages": {}, "installed": True, "fix": "", "reference": point.value}


def _is_ours(found: Distribution) -> bool:
    return any(point.group == "console_scripts" and point.value == COMMAND for point in found.entry_points)


def _extras() -> dict[str, list[str]]:
    """The packages of each extra of our distribution; empty if tracelet runs from a folder without being installed."""
    requirements = next((found.requires for found in distributions(name="tracelet") if _is_ours(found)), None)
    extras: dict[str, list[str]] = {}
    for line in requirements or ():
        match = REQUIREMENT.match(line)
        if match and match[1] != "tracelet":
            extras.setdefault(match[2], []).append(match[1])
    return extras


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
