"""What routes ask for by type: the gateway's resources, and a caller who has a scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from blocks.access import ADMIN, READ, WRITE
from waybill.gateway.access import Caller
from waybill.gateway.resources import Resources

# Refuses nothing itself: it puts the scheme into the description of the API.
API_KEY = HTTPBearer(
    auto_error=False, scheme_name="apiKey", bearerFormat="wb_ID_SECRET", description="`waybill keys create` makes one."
)


async def resources_of(request: Request) -> Resources:
    """What the application was made with. A coroutine, because FastAPI sends plain functions to a thread each time."""
    return cast("Resources", request.app.state.resources)


Waybill = Annotated[Resources, Depends(resources_of)]


def _having(scope: str) -> Callable[..., Awaitable[Caller]]:
    async def caller(
        request: Request,
        resources: Waybill,
        _: Annotated[HTTPAuthorizationCredentials | None, Security(API_KEY)],
    ) -> Caller:
        return await resources.gate.admit(request, scope)

    return caller


Reader = Annotated[Caller, Depends(_having(READ))]
Writer = Annotated[Caller, Depends(_having(WRITE))]
Admin = Annotated[Caller, Depends(_having(ADMIN))]
