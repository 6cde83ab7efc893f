"""The dashboard's pages: NiceGUI elements around two components of our own, which draw the API's data."""

from __future__ import annotations

from tracelet.ui.api.application import Service
from tracelet.ui.pages.page_layout import Pages


def build(service: Service) -> None:
    """Register all pages with NiceGUI; once per process."""
    Pages(service).register()
