"""``/docs``: the HTTP API as a page, from the OpenAPI document, without anything from elsewhere. It needs no key."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response

from waybill.gateway.pages.api_reference import Subject, api_reference
from waybill.gateway.pages.rendering import page
from waybill.gateway.pages.visitors import visitor_if_any

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the API."""
    app = cast("FastAPI", request.app)
    if not hasattr(app.state, "api_reference"):
        app.state.api_reference = api_reference(app.openapi())
    subjects = cast("list[Subject]", app.state.api_reference)
    return page(request, "docs.html", visitor=await visitor_if_any(request), subjects=subjects, openapi=app.openapi_url)
