"""A database that stands still: whoever is impatient is told soon, and nothing of the pool is lost by it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from blocks.catalog import Catalog, Timeouts
from blocks.errors import CatalogUnavailable
from blocks.postgres.pool import POOL_CONNECTIONS
from tests.postgres_server import Postgres, running_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of its own: it stands still for everybody."""
    with running_postgres() as server:
        yield server


@contextmanager
def stopped(database_url: str, *, for_new_ones: int | None = None) -> Iterator[None]:
    """The server's processes for this database stand still, and with the postmaster's pid also for new connections."""
    with psycopg.connect(database_url) as connection:
        pids = [
            row[0]
            for row in connection.execute(
                "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
        ]
    pids += [for_new_ones] if for_new_ones else []
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
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
        await asyncio.gather(*(use() for _ in range(everyone)))
        for _ in range(3):
            with stopped(database_url, for_new_ones=postgres.pid):
                began = time.monotonic()
                found = await asyncio.gather(*(use() for _ in range(everyone)), return_exceptions=True)
                assert {type(one) for one in found} == {CatalogUnavailable}
                # One answer, or one connection, and a second for a look at the other connections: under 2 s where there
                # is nothing else to do. Without that patience it is for ever.
                assert time.monotonic() - began < 15
            # Nothing is lost of the pool: as many at once as before, at once.
            async with asyncio.timeout(20):
                while True:
                    try:
                        await asyncio.gather(*(use() for _ in range(POOL_CONNECTIONS)))
                    except CatalogUnavailable:
                        continue
                    break


async def test_a_query_that_takes_longer_than_patience_is_given_up(database_url: str) -> None:
    async with Catalog.open(database_url, Timeouts(answer_seconds=0.3)) as catalog:
        for _ in range(POOL_CONNECTIONS + 1):
            with pytest.raises(CatalogUnavailable, match="no answer within"):
                async with catalog.connection() as connection:
                    await connection.execute("select pg_sleep(1)")
            async with catalog.connection() as connection:
                assert (await catalog.statistics(connection))["total"]["count"] == 0
