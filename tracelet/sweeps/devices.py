"""Which GPUs a trial sees: one each, or a share of one, by CUDA_VISIBLE_DEVICES. Used by a controller.

Without `--gpus` nothing is assigned and every trial sees what the controller sees. Never asks a driver: the devices are
those that CUDA_VISIBLE_DEVICES or `--gpus` names.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

VARIABLE = "CUDA_VISIBLE_DEVICES"


class Devices:
    """The devices of one controller, and how many trials use each."""

    def __init__(self, names: Sequence[str], per_device: int = 1) -> None:
        self._users = dict.fromkeys(names, 0)
        self._per_device = per_device

    @classmethod
    def given(cls, gpus: str | None, per_device: int) -> Devices:
        """`0,1` as they are written; `all` for those that the controller sees."""
        if gpus == "all":
            gpus = os.environ.get(VARIABLE, "")
        return cls([name.strip() for name in (gpus or "").split(",") if name.strip()], per_device)

    @property
    def slots(self) -> int | None:
        """How many trials there is room for; None if devices are not assigned."""
        return len(self._users) * self._per_device if self._users else None

    def take(self) -> str:
        """The device that the fewest trials use; empty if devices are not assigned."""
        if not self._users:
            return ""
        name = min(self._users, key=lambda device: self._users[device])
        self._users[name] += 1
        return name

    def give_back(self, name: str) -> None:
        """A trial on this device has ended."""
        if name:
            self._users[name] -= 1

    @staticmethod
    def environment(name: str) -> dict[str, str]:
        """The variable that a trial on this device gets."""
        return {VARIABLE: name} if name else {}
