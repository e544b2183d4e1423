"""A database that stands still: whoever is impatient is told soon, and nothing of the pool is lost by it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psutil
import pytest

from blocks.catalog import Catalog, Timeouts
from blocks.errors import CatalogUnavailable
from blocks.postgres.pool import POOL_CONNECTIONS
from tests.postgres_server import Postgres, running_postgres
from tests.stack_driver import PATIENCE_SECONDS

ResultT = TypeVar("ResultT")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of its own: it stands still for everybody."""
    with running_postgres() as server:
        yield server


@contextmanager
def stopped(postmaster: int) -> Iterator[None]:
    """The server stands still, for new connections too."""
    # The postmaster first: no process is missing that it starts meanwhile.
    os.kill(postmaster, signal.SIGSTOP)
    pids = [postmaster, *(child.pid for child in psutil.Process(postmaster).children())]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def test_a_server_that_stands_still_is_waited_for_as_long_as_patience_lasts(
    database_url: str, postgres: Postgres
) -> None:
    timeouts = Timeouts(connection_seconds=0.4, answer_seconds=0.3)
    async with Catalog.open(database_url, timeouts) as catalog:

        async def use() -> float:
            began = time.monotonic()
            async with catalog.transaction() as connection:
                await connection.execute("select pg_sleep(0.02)")
            return time.monotonic() - began

        everyone = 3 * POOL_CONNECTIONS
        await until_answered(lambda: asyncio.gather(*(use() for _ in range(everyone))))
        for _ in range(3):
            with stopped(postgres.pid):
                began = time.monotonic()
                found = await asyncio.gather(*(use() for _ in range(everyone)), return_exceptions=True)
                assert {type(one) for one in found} == {CatalogUnavailable}
                # One answer, or one connection, and a second for a look at the other connections: under 2 s where there
                # is nothing else to do. Without that patience it is for ever.
                assert time.monotonic() - began < PATIENCE_SECONDS
            # Nothing is lost of the pool: as many at once as before, at once.
            await until_answered(lambda: asyncio.gather(*(use() for _ in range(POOL_CONNECTIONS))))


async def until_answered(ask: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """The answer, once the machine is quick enough for so little patience."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(CatalogUnavailable):
                return await ask()


async def test_a_query_that_takes_longer_than_patience_is_given_up(database_url: str) -> None:
    async with Catalog.open(database_url, Timeouts(answer_seconds=0.3)) as catalog:

        async def count() -> int:
            async with catalog.connection() as connection:
                return (await catalog.statistics(connection))["total"]["count"]

        for _ in range(POOL_CONNECTIONS + 1):
            with pytest.raises(CatalogUnavailable, match="no answer within"):
                async with catalog.connection() as connection:
                    await connection.execute("select pg_sleep(60)")
            assert await until_answered(count) == 0
