"""How many tokens the batches of a training have, where they are sequences of tokens.

Called on the training thread where Lightning has moved a batch to its device. It looks at shapes, never at values, and
stops looking where the first batch of a training has no tokens, or where the program has told their number.
"""

from __future__ import annotations

from typing import Any

from tracelet.guard import guard
from tracelet.integrations.lightning.lap import Here
from tracelet.integrations.patching import Function, Patch


class Batches:
    """Looks into the batches of trainings; trials and evaluations are left out."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def patches(self, root: str) -> list[Patch]:
        """Where a batch begins, for one flavour of Lightning."""
        connector = f"{root}.trainer.connectors.logger_connector.logger_connector"
        return [Patch(connector, "_LoggerConnector.on_batch_start", self._around, direct=True)]

    def _around(self, original: Function) -> Function:
        here = self._here

        def on_batch_start(connector: Any, *args: Any, **kwargs: Any) -> Any:
            lap = here.lap
            training = lap.training if lap is not None else None
            if lap is not None and training is not None and training.sequences.wanted and args:
                with guard("counting the tokens of a batch"):
                    training.sequences.look(lap.begin, args[0])
            return original(connector, *args, **kwargs)

        return on_batch_start
