"""Sets environment variables temporarily, while calling an SDK that reads its settings only from there.

Used by concrete backends on the courier's thread, and by the wandb integration on the user's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager


@contextmanager
def temporary_environment(variables: Mapping[str, str], without: Sequence[str] = ()) -> Iterator[None]:
    """The environment with these variables and `without` those; restored afterwards."""
    before = {name: os.environ.get(name) for name in (*variables, *without)}
    os.environ.update(variables)
    for name in without:
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
