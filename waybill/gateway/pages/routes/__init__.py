"""The paths of the page, one module a subject; `page_routers` puts them together."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter

from waybill.gateway.pages.routes import (
    api_docs,
    custody_files,
    documents,
    exporting,
    home,
    keeping,
    own_files,
    processing,
    runs,
    searching,
    signing_in,
)

_MODULES = (
    home, processing, runs, documents, custody_files, searching, exporting, keeping, signing_in, api_docs, own_files,
)  # fmt: skip


def page_routers() -> Sequence[APIRouter]:
    """Return the routers of all paths of the page."""
    return [module.router for module in _MODULES]
