"""Who looks at the page: a session, its API key, and proof that a form is from here.

Owns the order of the checks. What changes something is refused unless the browser says that it comes from this page
(`Sec-Fetch-Site` or `Origin`) and the form holds the token of its session; only then is anything looked up. A path that
needs a session leads to the sign-in page.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import Depends, Request

from blocks.access import READ, WRITE, is_session_ended
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import GatewayResources
from waybill.gateway.errors import HttpError
from waybill.gateway.http.bounded_json import read_bounded
from waybill.gateway.pages.sessions import Session, Sessions
from waybill.gateway.resources import Resources

FORM_TOKEN = "form_token"  # noqa: S105 - a name
"""The field of a form that holds the token of its session."""
# A note and some choices; files are read elsewhere.
_MOST_FORM_BYTES = 64 * 1024
_MOST_FIELDS = 50
# A path of this host: the second character must not make it a host, and a browser reads a backslash as a slash.
_OWN_PATH = re.compile(r"/(?:[A-Za-z0-9._~%!$&'()*+,;=:@?-][A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?")
_NOT_AFTER_SIGN_IN = ("/sign-in", "/sign-out", "/static/", "/api/")


class SignInNeeded(Exception):
    """There is no session, or its API key does not work any more; *then* is the path to go on with."""

    def __init__(self, then: str = "/") -> None:
        super().__init__(then)
        self.then = then


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A person with a session."""

    session: Session
    caller: Caller

    @property
    def may_read(self) -> bool:
        return self.caller.allows(READ)

    @property
    def may_write(self) -> bool:
        return self.caller.allows(WRITE)

    @property
    def may_share(self) -> bool:
        """A link lets its holder read the file."""
        return self.may_read and self.may_write


def sessions_of(request: Request) -> Sessions:
    """Return the application's sessions."""
    return cast("Sessions", request.app.state.sessions)


async def session_of(request: Request) -> Session | None:
    """Return the session of the request's cookie, if it is a valid one; it may have been ended."""
    sessions = sessions_of(request)
    token = request.cookies.get(sessions.cookie_name)
    return await asyncio.to_thread(sessions.read, token) if token else None


def own_path(path: str) -> str:
    """Return *path* if it is one of this page, else the start page: a link to sign in must lead nowhere else."""
    if _OWN_PATH.fullmatch(path) is None or path.startswith(_NOT_AFTER_SIGN_IN):
        return "/"
    return path


def require_from_here(request: Request) -> None:
    """Raise `HttpError` (403) unless the browser says that this request was sent by a page of this gateway.

    Programs that send neither header are no browsers, and have no cookies of one.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        is_ours = site in {"same-origin", "none"}
    elif origin is not None:
        is_ours = _host_of(origin) in {request.headers.get("host", "").lower(), _own_host(request)}
    else:
        is_ours = True
    if not is_ours:
        raise HttpError(
            403, "ForeignForm", "this form was sent by another site, so nothing was done; open the page here"
        )


async def sending_session(request: Request) -> Session:
    """Return the session of a browser that sends a form of this gateway. Raises `HttpError` (403), `SignInNeeded`."""
    require_from_here(request)
    session = await session_of(request)
    if session is None:
        raise SignInNeeded
    return session


def require_token(session: Session, form_token: str) -> None:
    """Raise `HttpError` (403) unless *form_token* is that of *session*."""
    if not session.is_from_here(form_token):
        message = "this form is of an earlier session, so nothing was done; reload the page and send it again"
        raise HttpError(403, "FormTokenWrong", message)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises `HttpError` (408, 413, 415, 422)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HttpError(415, "UnsupportedMediaType", "send the form as application/x-www-form-urlencoded")
    body = await read_bounded(request, _MOST_FORM_BYTES)
    try:
        found = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise HttpError(422, "InvalidForm", "this form cannot be read; reload the page and send it again") from None
    if any("\x00" in value for values in found.values() for value in values):
        raise HttpError(422, "InvalidForm", "a field of this form holds the character U+0000; remove it")
    return {name: values[-1] for name, values in found.items()}


async def visitor_of(request: Request, resources: GatewayResources, *scopes: str) -> Visitor:
    """Return the visitor, whose key has all *scopes*. Raises `SignInNeeded`, `HttpError` (403, 429)."""
    session = await session_of(request)
    if session is None:
        raise SignInNeeded(_then(request))
    return await visitor_with(session, request, resources, *scopes)


async def visitor_with(session: Session, request: Request, resources: GatewayResources, *scopes: str) -> Visitor:
    """Return the visitor with *session*, whose key has all *scopes*. Raises like `visitor_of`."""
    async with resources.custody.catalog.connection() as connection:
        if await is_session_ended(connection, session.session_id):
            raise SignInNeeded(_then(request))
    try:
        caller = await resources.gate.admit_session(request, session.key_id, *scopes)
    except HttpError as error:
        if error.response.status_code == 401:
            raise SignInNeeded(_then(request)) from None
        raise
    return Visitor(session=session, caller=caller)


async def visitor_if_any(request: Request) -> Visitor | None:
    """Return who looks at a page that needs no session; None without one, or when that cannot be found out."""
    resources = cast("Resources", request.app.state.resources)
    try:
        session = await session_of(request)
        if session is None:
            return None
        return await visitor_with(session, request, resources)
    except Exception:  # noqa: BLE001 - what the page is about matters, not this
        return None


def _visitor(*scopes: str) -> Callable[..., Awaitable[Visitor]]:
    async def visitor(request: Request, resources: GatewayResources) -> Visitor:
        return await visitor_of(request, resources, *scopes)

    return visitor


@dataclass(frozen=True, kw_only=True)
class SentForm:
    """A form that a visitor has sent from a page of this session."""

    visitor: Visitor
    fields: dict[str, str]


def _sender(*scopes: str) -> Callable[..., Awaitable[SentForm]]:
    async def sender(request: Request, resources: GatewayResources) -> SentForm:
        session = await sending_session(request)
        fields = await read_form(request)
        require_token(session, fields.pop(FORM_TOKEN, ""))
        return SentForm(visitor=await visitor_with(session, request, resources, *scopes), fields=fields)

    return sender


AnyVisitor = Annotated[Visitor, Depends(_visitor())]
"""Has a session of a key with any scope: the page shows what the key may do."""
ReadingVisitor = Annotated[Visitor, Depends(_visitor(READ))]
AnyForm = Annotated[SentForm, Depends(_sender())]
ReadingForm = Annotated[SentForm, Depends(_sender(READ))]
WritingForm = Annotated[SentForm, Depends(_sender(WRITE))]
SharingForm = Annotated[SentForm, Depends(_sender(WRITE, READ))]


def _then(request: Request) -> str:
    if request.method != "GET":
        return "/"
    query = request.url.query
    path = quote(request.url.path, safe="/~!$&'()*+,;=:@")
    return own_path(f"{path}?{query}" if query else path)


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _own_host(request: Request) -> str:
    return _host_of(sessions_of(request).base_url)
