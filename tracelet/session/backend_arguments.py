"""Resolves `backend=...` into backend names and options.

Used by `start_logging()` and `tracelet sync`. Options with credentials stay in the memory of this process and of the
agent; `without_credentials` returns the options that a journal may contain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracelet.backends import sdk_variables
from tracelet.capture.parameter_values import to_scalar
from tracelet.errors import SettingsError
from tracelet.guard import say
from tracelet.redaction.masking import looks_secret, mask_url
from tracelet.settings import Settings

Backends = dict[str, dict[str, Any]]

SPAN_BACKENDS = frozenset({"otlp", "onelogger"})
"""Backends that deliver spans, and have options to select them."""


def resolve_backends(backend: object, settings: Settings) -> Backends:
    """The run's backends with all options: from `backend` as given to `start_logging()`, or from the settings."""
    backends = parse(settings.backend if backend is None else backend, settings.tables)
    lost = [key for key in ("backend_url", "api_key") if settings.sources[key] == "arguments" and settings[key]]
    if lost and not backends and settings.enabled:
        raise SettingsError(
            f"{lost[0]} is given without a backend. Name the backend, e.g. "
            f"start_logging(backend='mlflow', {lost[0]}=...)"
        )
    backends = with_address(_switched_on(backends), settings.api_key, settings.backend_url)
    return with_span_selection(backends, settings.spans, settings.spans_deny)


def parse(backend: object, tables: Mapping[str, Mapping[str, Any]]) -> Backends:
    """Names to options. `backend`: a name, names separated by commas, a list of names, or a mapping of name to options.

    `tables` holds options from the settings; options in `backend` itself override them. Both override the SDKs' own
    variables.
    """
    if backend is None or backend == "":
        return {}
    if isinstance(backend, str):
        asked: dict[str, dict[str, Any]] = {name.strip(): {} for name in backend.split(",")}
    elif isinstance(backend, Mapping):
        asked = {str(name).strip(): _options(name, options) for name, options in backend.items()}
    elif isinstance(backend, Iterable):
        asked = {str(name).strip(): {} for name in backend}
    else:
        raise SettingsError(f"backend={backend!r}: expected a name, a list of names, or a mapping of names to options")
    return {
        name.lower(): {**sdk_variables.options_from(name.lower()), **tables.get(name.lower(), {}), **options}
        for name, options in asked.items() if name
    }  # fmt: skip


def _switched_on(backends: Backends) -> Backends:
    """The same without those whose SDK is disabled by a variable of its own, which is reported once."""
    for name in backends:
        if variable := sdk_variables.switched_off(name):
            say(f"nothing is delivered to {name}, because {variable} is set.", once=f"off:{name}")
    return {name: options for name, options in backends.items() if not sdk_variables.switched_off(name)}


def _options(name: object, options: object) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise SettingsError(
            f"backend {name!r}: {options!r} are not options; expected a mapping such as {{'url': '...'}}"
        )
    return {str(key): value for key, value in options.items()}


def with_address(backends: Backends, api_key: str, url: str) -> Backends:
    """The same with `api_key` and `backend_url` added to the options of the one backend that they apply to."""
    given = {name: value for name, value in (("api_key", api_key), ("url", url)) if value}
    if not given or not backends:
        return backends
    if len(backends) > 1:
        first = next(iter(backends))
        raise SettingsError(
            f"api_key and backend_url need a single backend, but there are {len(backends)}. Set them for each one: "
            f"backend={{{first!r}: {{'url': ..., 'api_key': ...}}, ...}}"
        )
    return {name: {**given, **options} for name, options in backends.items()}


def with_span_selection(backends: Backends, spans: str, deny: str) -> Backends:
    """The same with the settings `spans` and `spans_deny` as options of span backends, whose own options
    override them.
    """
    if not SPAN_BACKENDS & backends.keys():
        return backends
    given = {name: value for name, value in (("spans", spans), ("spans_deny", deny)) if value not in ("", "all")}
    return {name: {**given, **own} if name in SPAN_BACKENDS else own for name, own in backends.items()}


def without_credentials(backends: Mapping[str, Mapping[str, Any]]) -> Backends:
    """The same without options that look like secrets, and without the credentials in URLs."""
    return {name: _without_secrets(options) for name, options in backends.items()}


def _without_secrets(options: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _mask(value) for key, value in options.items() if not looks_secret(str(key))}


def _mask(value: Any) -> Any:
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, Mapping):
        return _without_secrets(value)
    if isinstance(value, (list, tuple)):
        return [_mask(item) for item in value]
    return to_scalar(value)
