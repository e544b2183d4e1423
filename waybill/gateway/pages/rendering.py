"""HTML out of the templates of this package: everything that is put into one is escaped, and the headers allow no more.

The policy of the page lets it load its own style, script and pictures, and nothing else: no inline script or style, no
frame around it, no form that leads elsewhere. So even HTML that would get through could not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

from waybill import __version__
from waybill.gateway.pages import words
from waybill.gateway.pages.static_files import HTMX, static_url
from waybill.gateway.pages.visitors import FORM_TOKEN, Visitor
from waybill.gateway.resources import Resources

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Names and text of documents: no cache may keep them, and "back" after signing out shows nothing.
    "Cache-Control": "private, no-store",
    # With "no-referrer" browsers send "Origin: null" with forms, also to their own site.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def page(
    request: Request,
    template: str,
    *,
    visitor: Visitor | None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **shown: Any,
) -> HTMLResponse:
    """Return the *template* filled with *shown*."""
    text = (
        _templates()
        .get_template(template)
        .render(
            visitor=visitor,
            form_token=visitor.session.form_token if visitor else "",
            path=request.url.path,
            prefect_ui=_prefect_ui(request),
            **shown,
        )
    )
    return HTMLResponse(text, status_code=status, headers={**PAGE_HEADERS, **(headers or {})})


def see_other(path: str) -> Response:
    """Return a redirect to a *path* of this page, for what has changed something."""
    return RedirectResponse(path, status_code=303, headers=dict(PAGE_HEADERS))


def _prefect_ui(request: Request) -> str | None:
    """Return the address of Prefect's UI where the visitor's browser can reach it; None where it is on loopback."""
    address = cast("Resources", request.app.state.resources).prefect.ui_url
    if address is None:
        return None
    return address if _is_loopback(address) <= _is_loopback(str(request.base_url)) else None


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("waybill.gateway.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    untyped = cast("Any", templates)
    untyped.globals.update(version=__version__, static_url=static_url, htmx=HTMX, form_token_field=FORM_TOKEN)
    untyped.filters.update(words.FILTERS)
    return templates
