"""``/sign-in`` and ``/sign-out``: an API key becomes a session, and a session ends.

Wrong keys are counted like those of the API. A form from another site is refused, so no one is signed in with a key of
another person (login CSRF); each sign-in begins a new session, whatever cookie the browser had (session fixation).
"""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from blocks.access import end_session
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import HttpError
from waybill.gateway.pages.rendering import page, see_other
from waybill.gateway.pages.sessions import SESSION_LASTS, Session
from waybill.gateway.pages.visitors import (
    AnyForm,
    own_path,
    read_form,
    require_from_here,
    session_of,
    sessions_of,
)
from waybill.gateway.resources import Resources

router = APIRouter(include_in_schema=False)

_ONLY_HTTPS = "this page keeps its cookie for https alone; open it at the address that is set as WAYBILL_PUBLIC_URL"


@router.get("/sign-in")
async def sign_in_page(request: Request, next: str = "/") -> Response:  # noqa: A002 - the usual name in an address
    """Ask for an API key."""
    return page(request, "sign_in.html", visitor=None, then=own_path(next), problem="")


@router.post("/sign-in")
async def sign_in(request: Request, resources: GatewayResources) -> Response:
    """Begin a session with an API key."""
    require_from_here(request)
    fields = await read_form(request)
    then = own_path(fields.get("next", "/"))
    try:
        if sessions_of(request).is_secure and request.headers.get("origin", "").startswith("http://"):
            raise HttpError(403, "NotHttps", _ONLY_HTTPS)
        caller = await resources.gate.admit_key(request, fields.get("key", "").strip())
    except HttpError as error:
        response, problem = error.response, str(error)
        if response.status_code not in {401, 403, 429}:
            raise
        headers = {name: value for name, value in response.headers.items() if name == "retry-after"}
        return page(
            request, "sign_in.html", visitor=None, status=response.status_code, headers=headers,
            then=then, problem=f"{problem[:1].upper()}{problem[1:]}.",
        )  # fmt: skip
    await _end(resources, await session_of(request))
    session = await asyncio.to_thread(sessions_of(request).begin, caller.namespace)
    response = see_other(then)
    _set_cookie(request, response, session.token, int(SESSION_LASTS.total_seconds()))
    return response


@router.post("/sign-out")
async def sign_out(request: Request, resources: GatewayResources, form: AnyForm) -> Response:
    """End the session."""
    await _end(resources, form.visitor.session)
    response = see_other("/sign-in")
    _set_cookie(request, response, "", 0)
    return response


async def _end(resources: Resources, session: Session | None) -> None:
    """Refuse *session* from now on, at every gateway of the catalogue, also from a browser that has its cookie."""
    if session is not None:
        async with resources.custody.catalog.transaction() as connection:
            await end_session(connection, session.session_id, session.expires_at)


def _set_cookie(request: Request, response: Response, token: str, seconds: int) -> None:
    sessions = sessions_of(request)
    response.set_cookie(
        sessions.cookie_name, token, max_age=seconds, path="/", secure=sessions.is_secure, httponly=True,
        samesite="strict",
    )  # fmt: skip
