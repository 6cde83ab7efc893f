"""Uploads files to MLflow: facts, events, long parameters, copied artifacts. A refused one does not lose any other.

Used by the `mlflow` backend on the courier's thread, inside `calling`. The artifact store may be another system than
the tracking server, with its own credentials and outages. Never reads a file into memory whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from tracelet.backends.artifact_files import link_tree
from tracelet.backends.base import Batch, RunDescription
from tracelet.backends.legal_names import legal_file
from tracelet.backends.mlflow.metric_rows import legal_key
from tracelet.backends.refusals import client_errors, translated
from tracelet.errors import Rejected, Unavailable
from tracelet.journal.records import Artifact

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

Letters = list[tuple[list[Any], str]]


class RunFiles:
    """Writes files of one run."""

    def __init__(
        self, client: MlflowClient, run_id: str, run: RunDescription, artifacts: bool, whole_from: int
    ) -> None:
        self._client, self._run_id, self._run = client, run_id, run
        self._artifacts = artifacts
        self._whole_from = whole_from
        """Characters beyond which a parameter is also uploaded as a file."""

    def write(self, batch: Batch) -> None:
        """Upload everything; raises `Rejected` for permanently refused files after trying the rest."""
        refused: Letters = []
        waits: Unavailable | None = None
        for records, send in self._pieces(batch):
            try:
                self._attempt(records, send)
            except Rejected as error:
                refused.append((error.records, error.why))
            except Unavailable as error:
                waits = waits or error
        if waits is not None:
            raise waits  # all of it is sent again: a file that is written twice is stored once
        if refused:
            raise Rejected([record for records, _ in refused for record in records], refused[0][1])

    @staticmethod
    def _attempt(records: list[Any], send: Callable[[], object]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            send()
        except MlflowException as error:
            raise translated(error, records, "MLflow refuses a file") from error
        except client_errors() as error:
            raise translated(error, records, "the artifact store refuses a file") from error

    def _pieces(self, batch: Batch) -> Iterator[tuple[list[Any], Callable[[], object]]]:
        """(the record, how to send it) for each file."""
        for name, value in batch.params.items():
            if len(str(value)) > self._whole_from:
                path = f"tracelet/params/{legal_file(legal_key(name))}.txt"
                yield [{name: value}], self._text(str(value), path)
        for topic, facts in batch.facts.items():
            if diff := facts.get("diff"):
                yield [{topic: "diff"}], self._text(str(diff), f"tracelet/{legal_file(topic)}.diff")
            rest = {name: value for name, value in facts.items() if name != "diff"}
            yield [{topic: rest}], self._text(_json(rest), f"tracelet/{legal_file(topic)}.json")
        if batch.events:
            lines = "".join(_json(event, indent=None) + "\n" for event in batch.events)
            yield list(batch.events), self._text(lines, f"tracelet/events/{batch.id.replace(':', '-')}.jsonl")
        for artifact in batch.artifacts:
            if artifact.digest and self._artifacts:
                yield [artifact], self._artifact(artifact)

    def _text(self, text: str, path: str) -> Callable[[], object]:
        return lambda: self._client.log_text(self._run_id, text, path)

    def _artifact(self, artifact: Artifact) -> Callable[[], object]:
        def send() -> None:
            with link_tree(self._run, artifact) as folder:
                self._client.log_artifacts(self._run_id, str(folder))

        return send


def _json(value: Any, indent: int | None = 2) -> str:
    return json.dumps(msgspec.to_builtins(value, enc_hook=str), indent=indent, default=str)
