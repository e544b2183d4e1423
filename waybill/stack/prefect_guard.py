"""What the local Prefect server answers, and to whom: an ASGI middleware around Prefect's own app.

Three rules, for requests and websockets alike. The Host is the server's own loopback address, so that a name which a
web page's owner points to this machine reaches nothing. A browser's request comes from the UI's own pages, so that no
other page reaches anything. And without the credential only the health checks are answered, and the UI's files, which
ask a person for it. Prefect checks the credential of its API too; this does not depend on it, except for websockets,
whose first message carries the credential. The operator can add origins (`PREFECT_SERVER_CORS_ALLOWED_ORIGINS`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from blocks.errors import InvalidSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# Prefect's checks for load balancers. `ready` asks the database, and neither says anything else.
_HEALTH = frozenset({"/api/health", "/api/ready"})
_READING = frozenset({"GET", "HEAD"})
# No other page shows the UI in a frame or loads its files; and no address leaves with a link.
_HEADERS = (
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_POLICY_VIOLATION = 1008
# Browsers and clients leave these out.
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NO_ORIGIN = (
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS holds something that is no origin; one looks like "
    "https://prefect.example.org, and several are separated by commas"
)


def allowed_origins(port: int, *given: str) -> tuple[str, ...]:
    """Return the server's own origins and those of the lists *given*, as browsers send them; ``*`` counts for nothing.

    Raises `InvalidSettings` for what is no origin.
    """
    own = [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]")]
    more = [origin.strip() for origin in ",".join(given).split(",")]
    return tuple(_as_sent(origin) for origin in (*own, *more) if origin not in {"", "*"})


def _as_sent(origin: str) -> str:
    try:
        parts = urlsplit(origin.lower())
        port = parts.port
    except ValueError:
        raise InvalidSettings(_NO_ORIGIN) from None
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.hostname or parts.path not in {"", "/"} or set(origin) & set("@?#"):
        raise InvalidSettings(_NO_ORIGIN)
    host = parts.netloc.removesuffix(f":{port}") if port == default else parts.netloc
    return f"{parts.scheme}://{host}"


def guarded(app: Starlette, *, credential: str, origins: Collection[str]) -> App:
    """Return Prefect's *app* behind a `PrefectGuard`."""
    # Not at the top: commands that only start the server need none of it.
    from starlette.routing import Route

    # Next to the API and the UI, which are mounted: the API's documentation.
    routes = [route.path for route in app.routes if isinstance(route, Route)]
    return PrefectGuard(app, credential=credential, origins=origins, routes=routes)


class PrefectGuard:
    """*app* for the holders of *credential*, and in browsers for pages of *origins* alone.

    *routes* are the paths that need the credential and are not below ``/api``.
    """

    def __init__(self, app: App, *, credential: str, origins: Collection[str], routes: Collection[str]) -> None:
        self._app = app
        self._credential = credential.encode()
        self._origins = frozenset(origins)
        self._hosts = frozenset(urlsplit(origin).netloc for origin in origins)
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or refuse it."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = _Headers(scope)
        if headers.only("host").lower() not in self._hosts:
            refusal = HTTPStatus.MISDIRECTED_REQUEST, "this server answers on its own address only"
        elif not self._is_from_own_page(headers):
            refusal = HTTPStatus.FORBIDDEN, "this server answers no other web page"
        elif scope["type"] == "http" and self._needs_credential(scope, headers) and not self._has_credential(headers):
            # In Prefect's words, which its clients know.
            refusal = HTTPStatus.UNAUTHORIZED, "Unauthorized"
        else:
            await self._app(scope, receive, _adding_headers(send))
            return
        await _refuse(scope, send, *refusal)

    def _is_from_own_page(self, headers: _Headers) -> bool:
        if headers.has("origin"):
            return headers.only("origin").lower() in self._origins
        # Without an origin, a browser says by this where a request comes from. A link to the UI may be followed.
        site = headers.only("sec-fetch-site")
        is_link = headers.only("sec-fetch-mode") == "navigate" and headers.only("sec-fetch-dest") == "document"
        return site in {"", "none", "same-origin"} or is_link

    def _needs_credential(self, scope: Scope, headers: _Headers) -> bool:
        path, method = str(scope["path"]), str(scope["method"])
        if method == "OPTIONS" and headers.has("origin") and headers.has("access-control-request-method"):
            return False  # a browser asks for itself, without credentials; the answer is about CORS alone
        if method not in _READING:
            return True
        if path in _HEALTH:
            return False
        return path == "/api" or path.startswith("/api/") or path in self._routes

    def _has_credential(self, headers: _Headers) -> bool:
        scheme, _, encoded = headers.only("authorization").partition(" ")
        try:
            sent = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(sent, self._credential)


class _Headers:
    """The headers of one request; one that is sent twice counts as empty."""

    def __init__(self, scope: Scope) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            self._values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))

    def has(self, name: str) -> bool:
        return name in self._values

    def only(self, name: str) -> str:
        values = self._values.get(name, [])
        return values[0] if len(values) == 1 else ""


def _adding_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await send(message)

    return sending


async def _refuse(scope: Scope, send: Send, status: HTTPStatus, why: str) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted: the client sees status 403.
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": why})
        return
    body = json.dumps({"exception_message": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
