"""The common part of every page: the header, the view that draws the page, and the push of changes to it.

Called by NiceGUI on the event loop, once for every page that is opened. A page is a `View`: a component of our own
(web/*.js) that fetches from /api and receives the ids of changed runs over NiceGUI's websocket. Text from runs never
passes through here as markup.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nicegui import app, ui
from nicegui.element import Element
from nicegui.elements.aggrid import AgGrid
from nicegui.elements.echart import EChart
from nicegui.events import GenericEventArguments

from tracelet.capture.sanitize import storable_text
from tracelet.ui.api.application import Service
from tracelet.ui.live_updates import LiveUpdates

WEB = Path(__file__).parent.parent / "web"
HEAD = '<link rel="stylesheet" href="/assets/tracelet.css"><meta name="darkreader-lock">'
LIBRARIES = (AgGrid, EChart)
"""Importing them makes NiceGUI serve AG Grid and ECharts, which our own components import."""
NAVIGATION = (("runs", "/", "Runs"), ("compare", "/compare", "Compare"))


class View(Element, component=WEB / "view.js", esm={"tracelet-web": str(WEB / "lib")}):
    """One page's content. `watch` reports the visible runs to us, `changed` reports changes to it."""

    def __init__(self, page: str, live: LiveUpdates, **props: str) -> None:
        super().__init__()
        self._props["page"] = page
        for name, value in props.items():
            self._props[name] = value
        self._live = live
        self.on("watch", self._watch)
        self.client.on_disconnect(lambda: live.leave(self._push))
        self.client.on_delete(lambda: live.leave(self._push))

    def _watch(self, event: GenericEventArguments) -> None:
        asked = event.args if isinstance(event.args, list) else []
        self._live.watch(self._push, [str(run)[:100] for run in asked[:300]])

    def _push(self, changed: list[str]) -> None:
        if self.client.has_socket_connection:
            self.run_method("changed", changed)


class Pages:
    """The addresses of the dashboard."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.live = LiveUpdates(service.run_cache)

    def register(self) -> None:
        """Register the address of each page with NiceGUI."""
        app.add_static_files("/assets", WEB / "assets", max_cache_age=0)
        ui.page("/", title="Runs · tracelet", language="en-US")(self.runs)
        ui.page("/run/{run_id}", title="Run · tracelet", language="en-US")(self.run)
        ui.page("/compare", title="Compare · tracelet", language="en-US")(self.compare)

    def runs(self) -> None:
        """All runs."""
        self._page("runs")

    def run(self, run_id: str) -> None:
        """One run."""
        self._page("run", run=run_id)

    def compare(self) -> None:
        """Several runs side by side; the URL has their ids."""
        self._page("compare")

    def _page(self, page: str, **props: Any) -> None:
        ui.add_head_html(HEAD)
        ui.query(".nicegui-content").classes(replace="tl-content")
        with ui.element("header").classes("tl-header"):
            ui.link("Skip to content", "#main").classes("tl-skip")
            ui.link("tracelet", "/").classes("tl-brand")
            with ui.element("nav").props('aria-label="Pages"'):
                for name, address, title in NAVIGATION:
                    link = ui.link(title, address).classes("tl-nav")
                    if name == page:
                        link.props('aria-current="page"')
            ui.element("div").classes("tl-space")
            ui.label(storable_text(str(self.service.run_cache.store.root))).classes("tl-store")
            if self.service.edits.read_only:
                ui.label("Read-only").classes("tl-badge")
            ui.element("div").props('id="tl-tools"').classes("tl-tools")
        with ui.element("main").props('id="main" tabindex="-1"').classes("tl-main"):
            View(page, self.live, **props)
