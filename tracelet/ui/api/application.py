"""The FastAPI application of the dashboard: all routes under /api, errors as sentences, and a page about the API."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from tracelet._version import __version__
from tracelet.errors import FilterError, JournalError, RunNotFound, StoreError, TraceletError
from tracelet.store.store import Store
from tracelet.ui.api.comparison import ComparisonApi
from tracelet.ui.api.console import ConsoleApi
from tracelet.ui.api.files import FilesApi
from tracelet.ui.api.responses import Json
from tracelet.ui.api.runs import RunsApi
from tracelet.ui.api.series import SeriesApi
from tracelet.ui.run_cache import RunCache
from tracelet.ui.run_edits import RunEdits
from tracelet.ui.series_cache import SeriesCache

CODES: dict[type[TraceletError], int] = {RunNotFound: 404, FilterError: 400, StoreError: 409, JournalError: 500}
STYLE = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}code{font-size:.95em}"


class Service:
    """Handles the requests for one store, with its caches."""

    def __init__(self, store: Store, read_only: bool = False) -> None:
        self.run_cache = RunCache(store)
        self.edits = RunEdits(self.run_cache, read_only)
        self.series_cache = SeriesCache()


def application(service: Service) -> FastAPI:
    """The application, without the pages."""
    app = FastAPI(
        title="tracelet", version=__version__,
        description="Reads a tracelet store; changes names, tags and pins of runs.",
        openapi_url="/api/openapi.json", docs_url=None, redoc_url=None,
    )  # fmt: skip
    routers = (
        RunsApi(service.run_cache, service.edits), SeriesApi(service.run_cache, service.series_cache),
        FilesApi(service.run_cache), ConsoleApi(service.run_cache),
        ComparisonApi(service.run_cache, service.edits.read_only),
    )  # fmt: skip
    for part in routers:
        app.include_router(part.router(), prefix="/api")
    app.add_exception_handler(TraceletError, _tracelet_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_api_route("/api/docs", _docs(app), include_in_schema=False, response_class=HTMLResponse)
    return app


async def _tracelet_error(_request: Request, error: Exception) -> Response:
    """One of our errors as JSON: `error` is the sentence."""
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), 400)
    return Json({"error": str(error)}, status_code=code)


async def _http_error(_request: Request, error: Exception) -> Response:
    """A route's error, in the same form."""
    assert isinstance(error, HTTPException)
    return Json({"error": error.detail}, status_code=error.status_code)


async def _validation_error(_request: Request, error: Exception) -> Response:
    """An invalid parameter: its name and the reason; never its value, which may be anything."""
    assert isinstance(error, RequestValidationError)
    why = "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
    return Json({"error": f"invalid request: {why}. See /api/docs"}, status_code=422)


def _docs(app: FastAPI) -> Any:
    """A page that lists the routes. Replaces FastAPI's, which loads scripts from the network, because we
    work offline.
    """

    def page() -> str:
        schema = app.openapi()
        parts = []
        for path, methods in schema["paths"].items():
            for method, told in methods.items():
                rows = "".join(_parameter(parameter) for parameter in told.get("parameters", []))
                text = escape(told.get("description", ""))
                parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{text}</p><ul>{rows}</ul>")
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>tracelet API</title><style>{STYLE}</style><main><h1>tracelet API {escape(__version__)}</h1>"
            "<p>Machine-readable: <a href=/api/openapi.json>/api/openapi.json</a>. Changes (PATCH, DELETE) need the "
            f"header <code>X-Tracelet: 1</code>.</p>{''.join(parts)}</main></html>"
        )

    return page


def _parameter(parameter: dict[str, Any]) -> str:
    kind = parameter.get("schema", {})
    told = kind.get("type") or " or ".join(option.get("type", "?") for option in kind.get("anyOf", []))
    needed = " (required)" if parameter.get("required") else ""
    return f"<li><code>{escape(parameter['name'])}</code>: {escape(told)}{needed}</li>"
