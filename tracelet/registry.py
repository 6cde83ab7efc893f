"""Names to plug-ins: one row per built-in, and the entry-point groups through which other packages add theirs.

Loading is lazy: a row is a string until it is needed.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tracelet.agent.process.configuration import BackendConfig
from tracelet.errors import Misconfigured, SettingsError
from tracelet.redaction import known_secrets
from tracelet.store.delivery_state import checked_name

REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
"""`package.module:Class`"""

INTEGRATIONS: dict[str, str] = {
    "lightning": "tracelet.integrations.lightning:LightningIntegration",
    "torch": "tracelet.integrations.torch:TorchIntegration",
    "tensorboard": "tracelet.integrations.tensorboard:TensorboardIntegration",
    "transformers": "tracelet.integrations.transformers:TransformersIntegration",
    "accelerate": "tracelet.integrations.accelerate:AccelerateIntegration",
    "ignite": "tracelet.integrations.ignite:IgniteIntegration",
    "skorch": "tracelet.integrations.skorch:SkorchIntegration",
    "wandb": "tracelet.integrations.wandb:WandbIntegration",
    "mlflow": "tracelet.integrations.mlflow:MlflowIntegration",
    "clearml": "tracelet.integrations.clearml:ClearmlIntegration",
    "aim": "tracelet.integrations.aim:AimIntegration",
    "trackio": "tracelet.integrations.trackio:TrackioIntegration",
    "profilers": "tracelet.integrations.profilers:ProfilersIntegration",
    "argparse": "tracelet.integrations.argparse:ArgparseIntegration",
    "click": "tracelet.integrations.click:ClickIntegration",
    "typer": "tracelet.integrations.typer:TyperIntegration",
    "hydra": "tracelet.integrations.hydra:HydraIntegration",
    "omegaconf": "tracelet.integrations.omegaconf:OmegaconfIntegration",
    "jsonargparse": "tracelet.integrations.jsonargparse:JsonargparseIntegration",
    "tyro": "tracelet.integrations.tyro:TyroIntegration",
    "simple_parsing": "tracelet.integrations.simple_parsing:SimpleParsingIntegration",
    "absl": "tracelet.integrations.absl:AbslIntegration",
    "fire": "tracelet.integrations.fire:FireIntegration",
}
"""Name to class; each is switched by the setting `track_NAME`."""

COLLECTORS: dict[str, str] = {
    "system": "tracelet.collectors.system:SystemCollector",
    "gpu": "tracelet.collectors.gpu:GpuCollector",
}
"""Collectors that sample periodically, all switched by `track_system`."""

FACT_COLLECTORS: dict[str, str] = {
    "git": "tracelet.collectors.git:GitCollector",
    "env": "tracelet.collectors.environment:EnvironmentCollector",
    "system": "tracelet.collectors.gpu:GpuFacts",
}
"""Collectors that read once at the start; each is switched by the setting `track_NAME`."""

BACKENDS: dict[str, str] = {
    "mlflow": "tracelet.backends.mlflow.backend:MlflowBackend",
    "wandb": "tracelet.backends.wandb.backend:WandbBackend",
    "clearml": "tracelet.backends.clearml.backend:ClearmlBackend",
    "tensorboard": "tracelet.backends.tensorboard.backend:TensorboardBackend",
    "aim": "tracelet.backends.aim.backend:AimBackend",
    "jsonl": "tracelet.backends.jsonl.backend:JsonlBackend",
    "otlp": "tracelet.backends.otlp.backend:OtlpBackend",
    "onelogger": "tracelet.backends.onelogger:OneloggerBackend",
}
"""Name to class, loaded only by couriers; other packages add theirs through the entry points `tracelet.backends`."""

READERS: dict[str, str] = {
    "mlflow": "tracelet.backends.mlflow.read_back:remote_points",
    "wandb": "tracelet.backends.wandb.read_back:remote_points",
    "clearml": "tracelet.backends.clearml.read_back:remote_points",
    "tensorboard": "tracelet.backends.tensorboard.read_back:remote_points",
    "aim": "tracelet.backends.aim.read_back:remote_points",
    "jsonl": "tracelet.backends.jsonl.read_back:remote_points",
}
"""Backend to what reads back the points that it has, for `tracelet verify`."""

IMPORTERS: dict[str, str] = {
    "wandb": "tracelet.importers.wandb_offline.importer:WandbImporter",
    "lightning": "tracelet.importers.lightning_logs:LightningImporter",
    "mlflow": "tracelet.importers.mlflow.importer:MlflowImporter",
    "clearml": "tracelet.importers.clearml_offline:ClearmlImporter",
    "aim": "tracelet.importers.aim.importer:AimImporter",
    "comet": "tracelet.importers.comet:CometImporter",
    "neptune": "tracelet.importers.neptune:NeptuneImporter",
    "trackio": "tracelet.importers.trackio:TrackioImporter",
    "swanlab": "tracelet.importers.swanlab:SwanlabImporter",
    "sacred": "tracelet.importers.sacred:SacredImporter",
    "dvclive": "tracelet.importers.dvclive:DvcliveImporter",
    "huggingface": "tracelet.importers.trainer_state:TrainerStateImporter",
    "tensorboard": "tracelet.importers.tensorboard:TensorboardImporter",
    "onelogger": "tracelet.importers.onelogger:OneloggerImporter",
    "table": "tracelet.importers.tables.importer:TableImporter",
}
"""Format to class, in the order in which they are tried; others are added through the entry points
`tracelet.importers`.
"""


def load(reference: str) -> Any:
    """The object that `module:name` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def plugins(group: str, built_in: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Every plug-in of a kind, loaded: the built-in ones, then those of the entry-point group `tracelet.GROUP`."""
    from importlib.metadata import entry_points  # a quarter of the time that `import tracelet` would take

    for name, reference in built_in.items():
        yield name, load(reference)
    for point in entry_points(group=f"tracelet.{group}"):
        if point.name in built_in:
            raise SettingsError(
                f"the package with {point.value!r} has a {group} plug-in named {point.name!r}, a built-in name. "
                "Uninstall that package, or ask its author to rename the plug-in."
            )
        yield point.name, point.load()


def backend_reference(name: str, options: Mapping[str, Any]) -> str:
    """The import reference of a backend's class, without importing it. SettingsError for an unknown backend.

    The option `class` names one that is neither built in nor an entry point: `{"mine": {"class":
    "package.module:Mine"}}`.
    """
    given = options.get("class")
    if given is not None:
        if not isinstance(given, str) or not REFERENCE.fullmatch(given):
            raise SettingsError(f"backend {name!r}: class={given!r} is not a class; type 'package.module:ClassName'")
        return given
    if name in BACKENDS:
        return BACKENDS[name]
    from importlib.metadata import entry_points

    points = {point.name: point.value for point in entry_points(group="tracelet.backends")}
    if name in points:
        return points[name]
    known = sorted({*BACKENDS, *points})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else "Available: " + ", ".join(known) + "."
    raise SettingsError(f"there is no backend {name!r}. {hint}")


def validated_backends(backends: Mapping[str, Mapping[str, Any]]) -> list[BackendConfig]:
    """The backends of a run that is to start: SettingsError also for an option that a built-in backend does not have.

    Said by the agent it would be said when the training is over, and `tracelet sync` would fail over it too. Only what
    has options is looked up, and no plug-in of others is imported for it.
    """
    from tracelet.agent.delivery import backend_loading

    made = backend_configs(backends)
    for config in made:
        if config.options and config.reference in BACKENDS.values():
            try:
                backend_loading.check_names(config.name, load(config.reference).options, config.options)
            except Misconfigured as error:
                raise SettingsError(str(error)) from None
    return made


def backend_configs(backends: Mapping[str, Mapping[str, Any]]) -> list[BackendConfig]:
    """Where to deliver, as couriers want to know it. SettingsError for names that mean nothing."""
    for options in backends.values():
        known_secrets.register(options)
    return [
        BackendConfig(
            name=checked_name(name), reference=backend_reference(name, options),
            options={key: value for key, value in options.items() if key != "class"},
        )
        for name, options in backends.items()
    ]  # fmt: skip
