"""Browsers get pages of a transfer's link: what it leads to, and why it does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any, cast

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from blocks.errors import WaybillError
from blocks.transfers import Transfer
from blocks.transfers.prepare import PASSPHRASE
from waybill.gateway.errors import HttpError, waybill_error_response
from waybill.gateway.http.bounded_json import JsonRoute
from waybill.gateway.transfer_page import PAGE_HEADERS, ShownTransfer, refusal_page, transfer_page, wants_page

_SHOWN = "/download"


class PageRoute(JsonRoute):
    """A router's `route_class`: what its downloads refuse, a browser sees as a page with the same status."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, with pages for what it raises."""
        handle = super().get_route_handler()
        if not self.path.endswith(_SHOWN):
            return handle

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except (HttpError, WaybillError) as error:
                if not asks_for_page(request):
                    raise
                refused = error.response if isinstance(error, HttpError) else waybill_error_response(error)
                return _refusal(refused)

        return shown


def asks_for_page(request: Request) -> bool:
    """Return whether *request* comes from a browser that shows what it gets."""
    is_shown = request.method == "GET" and "range" not in request.headers and "download" not in request.query_params
    return is_shown and wants_page(",".join(request.headers.getlist("accept")))


def page_of(transfer: Transfer, link: str) -> Response:
    """Return the page of a transfer that is open; *link* is its whole address with the token."""
    shown = ShownTransfer(
        filename=transfer.filename,
        content_size=transfer.content_size,
        state=transfer.state,
        expires_at=transfer.expires_at,
        link=link,
        with_passphrase=transfer.recipient == PASSPHRASE,
    )
    return HTMLResponse(transfer_page(shown), headers=dict(PAGE_HEADERS))


def _refusal(refused: Response) -> Response:
    error = cast("dict[str, Any]", json.loads(bytes(refused.body)))["error"]
    kept = {name: value for name, value in refused.headers.items() if name in {"retry-after", "www-authenticate"}}
    page = refusal_page(refused.status_code, str(error["message"]))
    return HTMLResponse(page, status_code=refused.status_code, headers={**PAGE_HEADERS, **kept})
