"""Prefect's API as the gateway asks it: one client for all requests, and a server that is away is told at once.

Owns the bound on how long anybody waits for Prefect and the one translation of its client's errors. What Prefect does
not know stays `prefect.exceptions.ObjectNotFound`, for whoever asked to say what was not found.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.errors import PrefectUnavailable

# Prefect answers in milliseconds, and in a second when it is busy. Its client's own patience is minutes.
_ANSWER_SECONDS = 5.0
# One request, also one that nobody waits for any more because another one beside it has failed.
_REQUEST_SECONDS = 10.0
# Prefect's server closes a connection that was idle for five seconds; a request that crosses this on its way is lost.
_KEEP_IDLE_SECONDS = 3.0
# As Prefect's own client has it: more at once make its server slower, not faster.
_CONNECTIONS = 16


class PrefectApi:
    """The Prefect server that the environment names."""

    def __init__(self, client: PrefectClient | None, without_retries: SettingsContext) -> None:
        self._client = client
        self._without_retries = without_retries

    @property
    def configured(self) -> bool:
        """Whether there is a server to be asked, whatever it answers."""
        return self._client is not None

    @classmethod
    @asynccontextmanager
    async def open(cls, api_url: str | None) -> AsyncGenerator[Self]:
        """For the length of the block. Needs no server that answers now; without *api_url* there is none at all."""
        async with AsyncExitStack() as until_done:
            client: PrefectClient | None = None
            if api_url is not None:
                limits = httpx.Limits(
                    max_connections=_CONNECTIONS,
                    max_keepalive_connections=_CONNECTIONS,
                    keepalive_expiry=_KEEP_IDLE_SECONDS,
                )
                # The one that was named, whatever the environment says.
                with temporary_settings({PREFECT_API_URL: api_url}):
                    opening = get_client(
                        httpx_settings={"limits": limits, "timeout": _REQUEST_SECONDS}, sync_client=False
                    )
                client = await until_done.enter_async_context(opening)
            yield cls(client, _without_retries())

    @asynccontextmanager
    async def client(self, *, seconds: float = _ANSWER_SECONDS) -> AsyncGenerator[PrefectClient]:
        """The client, for some requests that together have *seconds*. Raises `PrefectUnavailable`."""
        if self._client is None:
            raise PrefectUnavailable("no Prefect server is named; start 'waybill up', or set PREFECT_API_URL")
        try:
            # Prefect's client reads its settings with each request. A copy, since a context is entered once.
            with self._without_retries.model_copy():
                async with asyncio.timeout(seconds):
                    yield self._client
        except ObjectNotFound:
            raise
        except httpx.HTTPStatusError as exc:
            # Without its words, which repeat what it was asked.
            status = exc.response.status_code
            raise PrefectUnavailable(f"the Prefect server answers with status {status}; its log says why") from exc
        except (httpx.HTTPError, PrefectException, TimeoutError) as exc:
            raise PrefectUnavailable(
                f"the Prefect server does not answer ({type(exc).__name__}); is 'waybill up' running?"
            ) from exc


def _without_retries() -> SettingsContext:
    """Prefect's settings as they are, but that a failure is told instead of tried again after growing pauses."""
    now = get_settings_context()
    settings = now.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: 0})
    return SettingsContext(profile=now.profile, settings=settings)
