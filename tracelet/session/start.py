"""Starts a run from the arguments of `start_logging()`: validates everything first, then starts the session.

Called by `tracelet.start_logging` and by `autostart`, on the user's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracelet import settings
from tracelet.capture.parameters import checked_params
from tracelet.capture.tags import checked_tags
from tracelet.session import active_session, backend_arguments
from tracelet.session.experiment import Experiment


def start(
    arguments: Mapping[str, Any],
    backend: Any = None,
    config: Mapping[str, Any] | None = None,
    tags: Any = None,
    params: Any = None,
) -> Experiment:
    """Start the run, or return the active one; `arguments` are settings by name, None if not given.

    Nothing has been recorded when a `TraceletError` is raised.
    """
    settled = settings.load(arguments, config)
    values = checked_params({} if params is None else params)
    texts = checked_tags({} if tags is None else tags)
    experiment = active_session.start(settled, backend_arguments.resolve_backends(backend, settled))
    if values:
        experiment.log_params(params)
    if texts:
        experiment.set_tags(texts)
    return experiment
