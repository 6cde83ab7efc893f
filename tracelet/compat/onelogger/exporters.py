"""nv-one-logger's exporters, each of which stands for a backend of tracelet. Plain data; any thread."""

from __future__ import annotations

import os
from typing import Any

from tracelet.errors import SettingsError


class Exporter:
    """Where spans go: the name of a backend and its options."""

    backend = ""

    def __init__(self, **options: Any) -> None:
        self.options = options


class FileExporter(Exporter):
    """JSON lines in a file, which each run replaces."""

    backend = "onelogger"

    def __init__(self, file_path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(file_path)
        super().__init__(path=self.path)

    def begin(self) -> None:
        """Empty the file: the backend appends, and a run of nv-one-logger replaces it."""
        if os.path.isfile(self.path):
            os.truncate(self.path, 0)


class OTelExporter(Exporter):
    """OpenTelemetry. tracelet sends by itself, to the address in `OTEL_EXPORTER_OTLP_ENDPOINT` or to `endpoint`."""

    backend = "otlp"

    def __init__(self, otel_exporter: Any = None, endpoint: str = "") -> None:
        address = endpoint or str(getattr(otel_exporter, "_endpoint", "") or "").removesuffix("/v1/traces")
        super().__init__(**({"url": address} if address else {}))


def backends(exporters: list[Any], spans: str, deny: str) -> dict[str, dict[str, Any]]:
    """The backends of these exporters, with the selection of spans."""
    found: dict[str, dict[str, Any]] = {}
    for exporter in exporters:
        if not isinstance(exporter, Exporter):
            raise SettingsError(
                f"{type(exporter).__name__} is no exporter that tracelet knows. Use FileExporter or OTelExporter, or "
                "name a backend: tracelet.start_logging(backend='wandb')."
            )
        if exporter.backend in found:
            raise SettingsError(f"{type(exporter).__name__} is given twice; tracelet delivers to one of each kind.")
        found[exporter.backend] = {**exporter.options, "spans": spans, "spans_deny": deny}
    return found
