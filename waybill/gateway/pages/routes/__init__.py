"""The paths of the page, one module a subject; `page_routers` puts them together."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from waybill.gateway.pages.routes import home, own_files, processing, runs, signing_in


def page_routers() -> Sequence[APIRouter]:
    """Return the routers of all paths of the page."""
    return [module.router for module in (home, processing, runs, signing_in, own_files)]
