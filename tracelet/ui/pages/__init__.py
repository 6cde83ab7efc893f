"""The pages that people see: NiceGUI elements around two components of our own, which draw what the API answers."""

from __future__ import annotations

from tracelet.ui.api.application import Service
from tracelet.ui.pages.page_layout import Pages


def build(service: Service) -> None:
    """Register all pages with NiceGUI; once in a process."""
    Pages(service).register()
