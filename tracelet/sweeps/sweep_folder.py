"""A sweep in the store: the folder STORE/sweeps/ID with the configuration, the trials and what their processes printed.

Made by `tracelet sweep` and `tracelet.sweep()`, read by all commands. The trials' runs are in STORE/runs, like others.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tracelet.errors import SweepError
from tracelet.journal.private_files import open_private
from tracelet.journal.run_folder import RUNS, ignore_in_git
from tracelet.store.run import Run
from tracelet.store.run_ids import short_id
from tracelet.store.store import LATEST, Store
from tracelet.sweeps.storage import open_storage, without_password
from tracelet.sweeps.study import SweepStudy, Trial
from tracelet.sweeps.sweep_config import SweepConfig

SWEEPS = "sweeps"
FILE_NAME = "sweep.json"
STOP = "stop"
"""A file whose existence asks every controller of the sweep to end."""
TRIALS = "trials"


@dataclass(frozen=True)
class SweepRecord:
    """What is kept of a sweep beside its trials."""

    id: str
    name: str
    project: str
    created: float
    folder: str
    """The working directory of the trials."""
    config: Mapping[str, Any]
    count: int | None = None
    storage: str = ""
    """The database without its password; empty for the file."""
    seed: int | None = None
    retry: int = 0
    function: str = ""
    """The function that runs the trials, of a sweep from a program."""


class Sweep:
    """One sweep."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.record = SweepRecord(**json.loads((path / FILE_NAME).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise SweepError(f"the sweep {path.name} cannot be read ({error})") from None
        self.config = SweepConfig.read(self.record.config)

    @classmethod
    def create(cls, store: Store, config: SweepConfig, **facts: Any) -> Sweep:
        """A new sweep with this configuration. StoreError or OSError if the store cannot be written."""
        created = time.time()
        sweep_id = facts.pop("id", "") or short_id(f"sweep:{os.getpid()}:{created!r}")
        name = facts.pop("name", "") or config.name or Path(config.program).stem or "sweep"
        facts["storage"] = without_password(facts.get("storage", ""))
        record = SweepRecord(
            sweep_id, name, facts.pop("project", "") or config.project or "default", created, os.getcwd(),
            dict(config.source), **facts,
        )  # fmt: skip
        path = store.root / SWEEPS / sweep_id
        if (path / FILE_NAME).exists():
            raise SweepError(f"there is a sweep {sweep_id} already. Type: tracelet sweep resume {sweep_id}")
        (path / TRIALS).mkdir(parents=True, exist_ok=True)
        ignore_in_git(store.root)
        with open(path / FILE_NAME, "w", encoding="utf-8", opener=open_private) as file:
            json.dump(asdict(record), file, indent=1, default=str)
        return cls(path)

    @property
    def id(self) -> str:
        """The sweep's id."""
        return self.record.id

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return self.path.parent.parent

    def study(self, storage: str = "") -> SweepStudy:
        """The trials. `storage`: the database with its password, if it needs one."""
        url = storage or self.record.storage
        return SweepStudy(self.id, self.config, open_storage(self.path, url), self.record.seed)

    def run_id(self, trial: Trial) -> str:
        """The id of the run of a trial's last attempt: known before it starts, unless its program chooses one."""
        return trial.attributes.get("run") or short_id(f"sweep:{self.id}:{trial.number}:{trial.attempt}")

    def run(self, trial: Trial) -> Run | None:
        """The run of a trial's last attempt; None if it was not recorded."""
        path = self.store / RUNS / self.run_id(trial)
        return Run(path) if path.is_dir() else None

    def trial_file(self, trial: int, attempt: int, suffix: str) -> Path:
        """A file of one attempt of a trial."""
        return self.path / TRIALS / f"{trial}.{attempt}.{suffix}"

    def tags(self, trial: int) -> dict[str, str]:
        """The tags of a trial's run."""
        return {"group": self.record.name, "sweep": self.id, "trial": str(trial)}

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked the sweep to end."""
        return (self.path / STOP).exists()


def sweeps(store: Store) -> Iterator[Sweep]:
    """The sweeps of a store, newest first; those that cannot be read are skipped."""
    found = []
    for path in (store.root / SWEEPS).glob(f"*/{FILE_NAME}"):
        try:
            found.append(Sweep(path.parent))
        except SweepError:  # written by another version, or half deleted
            continue
    yield from sorted(found, key=lambda sweep: -sweep.record.created)


def find_sweep(store: Store, name: str = LATEST) -> Sweep:
    """The sweep with this id, unique prefix of an id, or name; `latest` is the newest. SweepError otherwise."""
    known = list(sweeps(store))
    if not known:
        raise SweepError(f"no sweeps in {store.root}. Start one: tracelet sweep sweep.yaml")
    if name == LATEST:
        return known[0]
    matches = [sweep for sweep in known if sweep.id == name] or [sweep for sweep in known if sweep.id.startswith(name)]
    matches = matches if len(matches) == 1 else [sweep for sweep in known if sweep.record.name == name][:1] or matches
    if len(matches) != 1:
        what = f"{len(matches)} sweeps match" if matches else "no sweep has the id or name"
        raise SweepError(f"{what} {name!r}. List them: tracelet sweep ls")
    return matches[0]
