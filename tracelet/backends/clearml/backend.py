"""The `clearml` backend: a task with our code, parameters and scalars, online or as an offline session.

Called by a courier on its thread. The SDK's own capture (arguments, frameworks, streams, resources, repository) is off.
Scalars are sent to a server in requests that it answers, not through the SDK's queue.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from tracelet.backends.base import Batch, Outcome, RunDescription
from tracelet.backends.clearml.artifact_uploads import upload
from tracelet.backends.clearml.scalar_events import (
    changed_names,
    event_identities,
    event_identity,
    parameter_key,
    scalar_events,
)
from tracelet.backends.refusals import Verdict, client_errors, of_status, translated, verdict
from tracelet.capture.environment_variables import temporary_environment
from tracelet.errors import Misconfigured, Rejected, Unavailable, Unexplained, install_command

MAX_EVENTS = 500
"""Events per request."""
FRAMEWORKS = (
    "artifacts", "matplotlib", "tensorflow", "tensorboard", "pytorch", "xgboost", "scikit", "fastai", "lightgbm",
    "hydra", "detect_repository", "tfdefines", "joblib", "megengine", "catboost", "gradio", "jsonargparse",
)  # fmt: skip
TAG = "tracelet:"
MAX_DIFF_LENGTH = 500_000
"""Characters of uncommitted changes that ClearML's server accepts."""


@dataclass(frozen=True)
class ClearmlOptions:
    """Settings of the backend `clearml`."""

    url: str = ""
    """URL of the API server. If empty, CLEARML_API_HOST or `clearml.conf`."""
    access_key: str = ""
    """Access key. If empty, CLEARML_API_ACCESS_KEY or `clearml.conf`."""
    api_key: str = ""
    """Secret key. If empty, CLEARML_API_SECRET_KEY or `clearml.conf`. Never stored."""
    files_url: str = ""
    """URL of the file server for artifacts. If empty, CLEARML_FILES_HOST or `clearml.conf`."""
    mode: str = "online"
    """`online`, or `offline`: writes a session for `clearml-task --import-offline-session`."""
    dir: str = ""
    """Folder for the SDK's cache and offline sessions. If empty, `clearml` in the store."""
    task_type: str = "training"
    """Type of the task."""
    parent: str = ""
    """Id of the parent task, e.g. of a hyperparameter search."""


class ClearmlBackend:
    """One task per run, found again by its id or by a tag."""

    name: ClassVar[str] = "clearml"
    options: ClassVar[type] = ClearmlOptions
    extra: ClassVar[str] = "clearml"

    def __init__(self, options: ClearmlOptions) -> None:
        self._options = options
        self._task: Any = None
        self._everything_again = False
        self._run: RunDescription | None = None

    @property
    def _offline(self) -> bool:
        return self._options.mode == "offline"

    def open(self, run: RunDescription) -> None:
        """Create the task, or continue the one of an earlier courier."""
        if self._options.mode not in ("online", "offline"):
            raise Misconfigured(f"clearml does not support mode {self._options.mode!r}", "Give online or offline")
        self._run = run
        with self._calling():
            from clearml import Task

            Task.set_offline(self._offline)
            quiet: Any = Task
            quiet._report_subprocess_enabled = False  # a fork of a process with threads, where one thread would do
            if not self._offline and (self._options.url or self._options.files_url or self._options.api_key):
                Task.set_credentials(
                    api_host=self._options.url or None, files_host=self._options.files_url or None,
                    key=self._options.access_key or None, secret=self._options.api_key or None,
                )  # fmt: skip
            known = run.memory.get("task") or self._found(run)
            self._everything_again = run.repair or bool(known and "task" not in run.memory)
            if self._everything_again and not run.repair:
                run.found()
            task: Any
            self._task = task = Task.init(
                project_name=run.project, task_name=run.name, task_type=Task.TaskTypes(self._options.task_type),
                reuse_last_task_id=False, continue_last_task=known or False, auto_connect_arg_parser=False,
                auto_connect_frameworks=dict.fromkeys(FRAMEWORKS, False), auto_resource_monitoring=False,
                auto_connect_streams=False,
            )  # fmt: skip
            task.set_initial_iteration(0)  # continuing would shift every step
            if not known:
                task.add_tags([TAG + run.id])
                if self._options.parent:
                    task.set_parent(self._options.parent)
                self._describe(task, run.git)
        run.remember("task", task.id)
        run.announce(str(task.get_offline_mode_folder()) if self._offline else str(task.get_output_log_web_page()))

    def _found(self, run: RunDescription) -> str | None:
        """The task of this run, found without stored state."""
        from clearml import Task

        if not self._offline:
            found = Task.query_tasks(project_name=run.project, tags=[TAG + run.id])
            return str(found[0]) if found else None
        for path in sorted(self._folder().glob("offline/*/task.json")):
            if TAG + run.id in json.loads(path.read_text(encoding="utf-8")).get("tags", ()):
                return path.parent.name
        return None

    def _describe(self, task: Any, git: Mapping[str, Any]) -> None:
        from clearml.backend_api.services import tasks

        assert self._run is not None
        remotes = git.get("remotes") or {}
        command = list(self._run.command)
        scripts = [word for word in command if word.endswith(".py")]
        # The public set_script() and set_packages() expect that the SDK has detected something; its detection is off.
        task._update_script(script=tasks.Script(
            repository=str(remotes.get("origin") or next(iter(remotes.values()), git.get("root", ""))),
            branch=str(git.get("branch") or ""), version_num=str(git.get("commit") or ""),
            diff=str(git.get("diff") or "")[:MAX_DIFF_LENGTH], working_dir=self._run.folder,
            entry_point=scripts[0] if scripts else " ".join(command), requirements=_packages(self._run.environment),
        ))  # fmt: skip

    def write(self, batch: Batch) -> None:
        """Send everything, and return when the server, or the session's folder, has it."""
        task: Any = self._task
        assert self._run is not None
        with self._calling():
            self._run.renamed(changed_names(batch.points))
            events = list(scalar_events(batch.points))
            if self._offline:
                self._write_offline(events, batch.again or self._everything_again)
            else:
                self._send(events)
            if batch.params:
                self._run.renamed({name: parameter_key(name) for name in batch.params if name[:8] == "General/"})
                task.update_parameters({parameter_key(name): value for name, value in batch.params.items()})
            if batch.tags:
                task.add_tags([f"{name}: {text}" for name, text in batch.tags.items() if text])
            for topic, facts in batch.facts.items():
                self._write_facts(topic, facts)
            task.flush(wait_for_uploads=True)

    def upload(self, batch: Batch) -> None:
        """Upload the batch's artifacts; the file server may be another one than that of the task."""
        assert self._run is not None
        refused: list[Any] = []
        with self._calling():
            for artifact in batch.artifacts:
                try:
                    if not upload(self._task, self._run, artifact):
                        refused.append(artifact)
                except client_errors() as error:
                    raise translated(error, [artifact], "ClearML cannot upload an artifact") from error
            self._task.flush(wait_for_uploads=True)
        if refused:
            raise Rejected(refused, "its copy in the run's folder no longer exists")

    def _write_offline(self, events: list[Any], again: bool) -> None:
        there: Counter[Any] = event_identities(Path(self._task.get_offline_mode_folder())) if again else Counter()
        for event in events:
            event.update(task=self._task.id)
            if there[event_identity(event)]:
                there[event_identity(event)] -= 1
            else:
                self._task._reporter._report(event)
        self._task.flush(wait_for_uploads=True)

    def _send(self, events: list[Any]) -> None:
        from clearml.backend_api.services import events as service

        iterator = iter(events)
        while group := list(islice(iterator, MAX_EVENTS)):
            for event in group:
                event.update(task=self._task.id)
            requests = [service.AddRequest(event=event.get_api_event()) for event in group]
            answer = self._task.send(service.AddBatchRequest(requests=requests), raise_on_errors=False)
            # The SDK treats every response with status 200 as success, even a proxy's HTML page.
            if answer is None or not answer.ok() or "added" not in (answer.response_data or ()):
                code = answer.meta.result_code if answer is not None else 0
                kind = Unexplained if of_status(code) is Verdict.REFUSED else Unavailable
                raise kind(f"ClearML did not take {len(group)} points ({code})")

    def _write_facts(self, topic: str, facts: Mapping[str, Any]) -> None:
        assert self._run is not None
        if topic in ("git", "environment"):
            known: dict[str, Any] = {topic: facts}
            self._run = replace(self._run, **known)
            self._describe(self._task, self._run.git)
        text = json.dumps({name: value for name, value in facts.items() if name != "diff"}, indent=2, default=str)
        self._task.set_configuration_object(name=f"tracelet {topic}", config_text=text)

    def close(self, outcome: Outcome | None) -> None:
        """Set the task's status if the run is over, and close it."""
        task, self._task = self._task, None
        if task is None:
            return
        with self._calling():
            if outcome is not None:
                ended = {"status": outcome.status, "reason": outcome.reason}
                task.update_parameters({f"tracelet/{name}": text for name, text in ended.items()})
            task.close()  # the SDK marks every task completed here
            if not self._offline:
                _set_final_status(task.id, outcome)

    def _folder(self) -> Path:
        assert self._run is not None
        folder = Path(self._options.dir or self._run.store / "clearml").expanduser()
        return folder if folder.is_absolute() else Path(self._run.folder) / folder

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Run SDK code in this block: its files stay in our folder, it prints nothing, its errors become ours."""
        wanted = {
            "CLEARML_CACHE_DIR": str(self._folder()), "CLEARML_LOG_LEVEL": "ERROR",
            "CLEARML_SUPPRESS_UPDATE_MESSAGE": "1",
        }  # fmt: skip
        with temporary_environment(wanted):
            try:
                from clearml.backend_api.session.errors import SessionError  # noqa: F401  # is it there?
            except ImportError as error:
                raise Misconfigured(
                    f"ClearML cannot be imported ({error})", f"Type {install_command('clearml')}"
                ) from error
            logging.getLogger("clearml").setLevel(logging.ERROR)
            try:
                yield
            except (OSError, ValueError, RuntimeError) as error:
                raise _as_own_error(error) from error


def _set_final_status(task_id: str, outcome: Outcome | None) -> None:
    from clearml import Task

    task: Any = Task.get_task(task_id=task_id)
    if outcome is None:
        task.mark_started(force=True)  # it continues in another process
    elif outcome.status == "failed":
        task.mark_failed(status_reason=outcome.status, status_message=outcome.reason, force=True)
    elif outcome.status != "finished":
        task.mark_stopped(force=True, status_message=f"{outcome.status} {outcome.reason}".strip())


def _as_own_error(error: Exception) -> Exception:
    line = str(error).strip().partition("\n")[0][:300]
    if type(error).__name__ in ("MissingConfigError", "LoginError"):
        fix = "Type clearml-init, or set CLEARML_API_HOST, CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY"
        return Misconfigured(f"ClearML refuses ({line or type(error).__name__})", fix)
    kind = Unavailable if verdict(error) is Verdict.PASSING else Unexplained
    return kind(f"ClearML does not respond ({line})")


def _packages(environment: Mapping[str, Any]) -> dict[str, str]:
    packages = environment.get("packages")
    if not isinstance(packages, Mapping):
        return {}
    return {"pip": "\n".join(f"{name}=={version}" for name, version in packages.items())}
