"""Who a worker is, as its gateway sees it: enrolment, sessions sealed for the worker's key, and their renewal.

A session ends after minutes by the gateway's clock. Nothing here reads the worker's own clock, which may be wrong: a
session is renewed by the time that has passed since it was asked for, and when the gateway says that it is over.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from blocks.age import X25519Identity, unseal
from blocks.errors import (
    AuthenticationFailed,
    GatewayRefused,
    GatewayUnavailable,
    MalformedAgeFile,
    NoMatchingIdentity,
    SessionUnreadable,
    WorkerRefused,
)
from blocks.hand_over.answers import response_error, transport_error
from blocks.hand_over.worker_home import WorkerConfig, WorkerHome, check_gateway_url

API = "/api/v1"
SESSION_OVER = frozenset({"SessionInvalid", "SessionExpired"})
"""Codes of responses to a session that is not valid any more; a new one may be."""

# Renewed when two thirds of it have passed: there is time to try again while the gateway is away.
_RENEWED_AFTER = 2 / 3
# The gateway's own, for a token that does not say.
_LIFETIME_SECONDS = 900.0
_OK, _CREATED = 200, 201
# A sealed session has about 650 bytes.
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What the gateway says of a worker: its labels now, and which assignments it has lost."""

    labels: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class _Session:
    token: str = field(repr=False)
    renew_at: float


async def enroll(
    home: WorkerHome, client: httpx.AsyncClient, gateway_url: str, code: str, *, name: str | None, version: str
) -> tuple[WorkerConfig, list[str]]:
    """Enrol this machine with a one-time code, and record the gateway in *home*; return that, and the labels.

    Nothing but the public key leaves the machine. Raises `EnrolmentRefused`, `WorkerExists`, `InvalidOptions`,
    `GatewayUnavailable`, `GatewayRefused`, and like `WorkerHome`.
    """
    base = check_gateway_url(gateway_url)
    wanted = {"code": code, "name": name, "recipient": home.identity().recipient.text, "version": version}
    try:
        response = await client.post(f"{base}{API}/workers/enroll", json=wanted)
    except httpx.HTTPError as exc:
        raise transport_error(exc, base) from exc
    if response.status_code != _CREATED:
        raise response_error(response)
    try:
        found = cast("dict[str, Any]", response.json())
        config = WorkerConfig(
            gateway_url=base,
            name=str(found["name"]),
            storage_recipient=found["storage_recipient"],
            pool=str(found["pool"]),
        )
        labels = [str(label) for label in found["labels"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise GatewayRefused(f"{base} does not answer as a gateway of Waybill", status=None, code=None) from exc
    home.write_config(config)
    return config, labels


class WorkerSession:
    """A worker's requests to its gateway, each with a session that is valid. Any number of tasks may share it.

    *client* is the caller's to close. *monotonic* counts seconds evenly. Raises like `WorkerHome` for a machine that is
    not enrolled.
    """

    def __init__(
        self, home: WorkerHome, client: httpx.AsyncClient, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = home.config()
        self._identity = home.identity()
        self._client = client
        self._monotonic = monotonic
        self._session: _Session | None = None
        self._renewing = asyncio.Lock()

    @property
    def identity(self) -> X25519Identity:
        """The key that opens what is handed to this worker."""
        return self._identity

    def url(self, path: str) -> str:
        """Return the URL of *path*, which begins with a slash, in the gateway's API."""
        return f"{self.config.gateway_url}{API}{path}"

    async def headers(self) -> dict[str, str]:
        """Return the header of a request with a session that is valid now. Raises like `request`."""
        return {"Authorization": f"Bearer {await self.token()}"}

    async def token(self, *, renewed: bool = False) -> str:
        """Return the session; *renewed*, or when most of it has passed, a new one. Raises like `request`."""
        known = self._session
        if known is None or renewed or self._monotonic() >= known.renew_at:
            known = await self._renewed(known)
        return known.token

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> httpx.Response:
        """Send a request and return the response, whatever its status is, but for the errors of the session.

        Repeated once with a new session when the gateway says that this one is over. Raises `WorkerRefused` (revoked),
        `WorkerNotFound`, `SessionUnreadable` (another gateway's), `GatewayUnavailable` for 429, 5xx and no response,
        and `GatewayRefused` where a new session is refused too.
        """
        given: dict[str, Any] = {"json": json, "content": content, "headers": dict(headers or {})}
        if timeout_seconds is not None:
            given["timeout"] = timeout_seconds
        token = await self.token()
        response = await self._send(method, path, token=token, **given)
        if _is_over(response):
            self._forget(token)
            response = await self._send(method, path, token=await self.token(), **given)
        if not response.is_success:
            error = response_error(response)
            if isinstance(error, GatewayUnavailable | WorkerRefused) or _is_over(response):
                raise error
        return response

    async def heartbeat(self, *, version: str, running: Sequence[str] = ()) -> Heartbeat:
        """Report that this worker lives, and the assignments that it works on. Raises like `request`."""
        response = await self.request("POST", "/workers/heartbeat", json={"version": version, "running": [*running]})
        if not response.is_success:
            raise response_error(response)
        found = response.json()
        return Heartbeat(labels=tuple(found["labels"]), lost=tuple(found["lost"]))

    def _forget(self, token: str) -> None:
        """Drop a session that the gateway has refused, unless another task has renewed it since."""
        if self._session is not None and self._session.token == token:
            self._session = None

    async def _renewed(self, known: _Session | None) -> _Session:
        async with self._renewing:
            if self._session is not None and self._session is not known:
                return self._session  # another task was first
            # Before it is asked for: the gateway's clock begins no earlier.
            asked_at = self._monotonic()
            response = await self._send("POST", f"/workers/{self.config.name}/session")
            if response.status_code != _OK:
                raise response_error(response)
            token = self._opened(response.content)
            self._session = _Session(token, asked_at + _lifetime_seconds(token) * _RENEWED_AFTER)
            return self._session

    async def _send(self, method: str, path: str, *, token: str | None = None, **given: Any) -> httpx.Response:
        if token is not None:
            given["headers"] = {**given["headers"], "Authorization": f"Bearer {token}"}
        try:
            return await self._client.request(method, self.url(path), **given)
        except httpx.HTTPError as exc:
            raise transport_error(exc, self.config.gateway_url) from exc

    def _opened(self, sealed: bytes) -> str:
        try:
            if len(sealed) > _MOST_BYTES:
                raise MalformedAgeFile("too long for a session")
            return b"".join(unseal([sealed], [self._identity])).decode("ascii")
        except (MalformedAgeFile, NoMatchingIdentity, AuthenticationFailed, UnicodeDecodeError) as exc:
            raise SessionUnreadable(
                f"the session that {self.config.gateway_url} answers for {self.config.name} is not for the key of this "
                "machine: it is another gateway, or has another key under this name; enrol this machine again"
            ) from exc


def _is_over(response: httpx.Response) -> bool:
    return not response.is_success and response_error(response).context["code"] in SESSION_OVER


def _lifetime_seconds(token: str) -> float:
    """Return how long *token* lasts, by the two times that the gateway has written into it."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        lasting = float(claims["exp"] - claims["iat"])
    except (IndexError, ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        return _LIFETIME_SECONDS
    return lasting if 0 < lasting <= _LIFETIME_SECONDS else _LIFETIME_SECONDS
