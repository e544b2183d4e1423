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
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.errors import PrefectUnavailable

# Prefect answers in milliseconds, and in a second when it is busy. Its client's own patience is minutes.
_ANSWER_SECONDS = 10.0


class PrefectApi:
    """The Prefect server that the environment names."""

    def __init__(self, client: PrefectClient | None) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, api_url: str | None) -> AsyncGenerator[Self]:
        """For the length of the block. Needs no server that answers now; without *api_url* there is none at all."""
        async with AsyncExitStack() as until_done:
            client: PrefectClient | None = None
            if api_url is not None:
                # One more try rides out a connection that was closed meanwhile; more would make a client of ours wait.
                with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
                    client = await until_done.enter_async_context(get_client(sync_client=False))
            yield cls(client)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[PrefectClient]:
        """The client, for some requests that together have `_ANSWER_SECONDS`. Raises `PrefectUnavailable`."""
        if self._client is None:
            raise PrefectUnavailable("no Prefect server is named; start 'waybill up', or set PREFECT_API_URL")
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                yield self._client
        except ObjectNotFound:
            raise
        except (httpx.HTTPError, PrefectException, TimeoutError) as exc:
            raise PrefectUnavailable(
                f"the Prefect server does not answer ({type(exc).__name__}); is 'waybill up' running?"
            ) from exc
