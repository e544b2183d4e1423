"""FastAPI dependencies that routes name by type: the gateway's resources, and an authenticated caller with scopes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from blocks.access import ADMIN, READ, WRITE
from waybill.gateway.access import Caller
from waybill.gateway.resources import Resources

# Refuses nothing itself: it only adds the scheme to the OpenAPI document. `Gate` authenticates.
API_KEY = HTTPBearer(
    auto_error=False,
    scheme_name="apiKey",
    bearerFormat="wb_ID_SECRET",
    description="An API key. Create one with `waybill keys create`.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(API_KEY)]


async def resources_of(request: Request) -> Resources:
    """Return the application's resources. A coroutine, because FastAPI runs plain functions in a thread."""
    return cast("Resources", request.app.state.resources)


GatewayResources = Annotated[Resources, Depends(resources_of)]


def _with(*scopes: str) -> Callable[..., Awaitable[Caller]]:
    async def caller(request: Request, resources: GatewayResources, _: Credentials) -> Caller:
        return await resources.gate.admit(request, *scopes)

    return caller


KeyHolder = Annotated[Caller, Depends(_with())]
"""Has a key of any scope: what it needs depends on what it asks for, and is checked there."""
Reader = Annotated[Caller, Depends(_with(READ))]
Writer = Annotated[Caller, Depends(_with(WRITE))]
Sharer = Annotated[Caller, Depends(_with(WRITE, READ))]
"""May make links: a link lets its holder read the file, so `write` alone is not enough."""
Admin = Annotated[Caller, Depends(_with(ADMIN))]
