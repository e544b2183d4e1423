"""Prefect's API for short requests: one client for all of them, and one error for every outage.

`prefect.exceptions.ObjectNotFound` is passed on, so that the caller can say what was not found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Self, TypeVar

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, PREFECT_CLIENT_RETRY_EXTRA_CODES

from blocks.errors import PrefectUnavailable

# Prefect answers in milliseconds, and in a second when it is busy. Its client's own time limits are minutes.
_ANSWER_SECONDS = 5.0
# One request; also the bound of a request whose caller has failed meanwhile because of another one.
_REQUEST_SECONDS = 10.0
_REFUSING = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
REFUSED = "the Prefect server refuses the credentials; PREFECT_API_AUTH_STRING holds them for a server of your own"
# Prefect's server closes a connection that was idle for five seconds; a request sent at that moment is lost.
_KEEP_IDLE_SECONDS = 3.0
# `waybill up` has a server that ended answering again within some ten seconds, more on a busy machine.
_RESTART_SECONDS = 60.0
_RESTART_PAUSE_SECONDS = 0.5
# As in Prefect's own client: more connections make its server slower, not faster.
_CONNECTIONS = 16

ResultT = TypeVar("ResultT")


class PrefectApi:
    """The Prefect server that the environment names."""

    def __init__(self, client: PrefectClient | None, settings: SettingsContext) -> None:
        self._client = client
        self._settings = settings

    @property
    def configured(self) -> bool:
        """Whether a server is configured, reachable or not."""
        return self._client is not None

    @property
    def ui_url(self) -> str | None:
        """The address of the server's UI, which is that of its API without the last part."""
        return str(self._client.api_url).rstrip("/").removesuffix("/api") if self._client is not None else None

    @classmethod
    @asynccontextmanager
    async def open(cls, api_url: str | None) -> AsyncGenerator[Self]:
        """Open a client for the length of the block. The server need not answer now; None: there is no server."""
        settings = get_settings_context()
        if api_url is None:
            yield cls(None, settings)
            return
        # The server that was named, whatever the environment says. Failures are reported: Prefect's client would repeat
        # a request after growing pauses. Without repeats it still pauses two seconds after each status that it would
        # repeat, and to find a record that cannot be listed takes many requests with the status 500.
        # See ``findings/wait_after_last_attempt.sh``.
        with_url = settings.settings.copy_with_update(
            {PREFECT_API_URL: api_url, PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_CLIENT_RETRY_EXTRA_CODES: set()}
        )
        settings = SettingsContext(profile=settings.profile, settings=with_url)
        limits = httpx.Limits(
            max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS, keepalive_expiry=_KEEP_IDLE_SECONDS
        )
        with settings.model_copy():
            client = get_client(httpx_settings={"limits": limits, "timeout": _REQUEST_SECONDS}, sync_client=False)
        async with client:
            yield cls(client, settings)

    @asynccontextmanager
    async def client(self, *, seconds: float | None = None) -> AsyncGenerator[PrefectClient]:
        """Yield the client, for requests that take *seconds* together at most, five by default.

        Raises `PrefectUnavailable`.
        """
        if self._client is None:
            raise PrefectUnavailable("no Prefect server is configured; start 'waybill up', or set PREFECT_API_URL")
        try:
            # Prefect's client reads its settings at each request. A copy, since a context can be entered only once.
            with self._settings.model_copy():
                async with asyncio.timeout(_ANSWER_SECONDS if seconds is None else seconds):
                    yield self._client
        except ObjectNotFound:
            raise
        except (httpx.HTTPError, PrefectException, TimeoutError) as exc:
            raise PrefectUnavailable(prefect_problem(exc)) from exc


def prefect_problem(error: Exception) -> str:
    """Return what an error of Prefect's client says about the server, without its message: that repeats the request."""
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        return REFUSED if status in _REFUSING else f"the Prefect server answers with status {status}; its log says why"
    if isinstance(error, ValueError):
        return f"Prefect's client does not understand the Prefect server ({type(error).__name__})"
    return f"the Prefect server does not answer ({type(error).__name__}); is 'waybill up' running?"


async def while_server_restarts(call: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Return what *call* gives, repeated for a minute at most while no Prefect server listens.

    A client of Prefect's waits for a server that it has reached before, and gives up at once on one that it has not.
    Raises what *call* raises.
    """
    deadline = time.monotonic() + _RESTART_SECONDS
    while True:
        try:
            return await call()
        except httpx.ConnectError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(_RESTART_PAUSE_SECONDS)
