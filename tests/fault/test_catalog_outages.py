"""A database that stands still, refuses to write or changes: nothing of the pool is lost by it, and no connection that
only refuses is kept."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from blocks.catalog import Catalog, Timeouts
from blocks.errors import CatalogUnavailable
from blocks.postgres import pool as pool_module
from blocks.postgres import session as session_module
from blocks.postgres.pool import POOL_CONNECTIONS
from tests.postgres_server import Postgres, running_postgres, running_standby
from tests.stack_driver import PATIENCE_SECONDS, eventually

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


async def write(catalog: Catalog) -> None:
    """Something that every server which is read-only refuses."""
    async with catalog.connection() as connection:
        await connection.execute("update artifacts set state = state where false")


async def read(catalog: Catalog) -> None:
    async with catalog.connection() as connection:
        await connection.execute("select from artifacts")


async def test_a_standby_is_read_only_until_it_is_promoted(database_url: str, postgres: Postgres) -> None:
    name = str(conninfo_to_dict(database_url)["dbname"])
    with running_standby(postgres) as standby:
        both = f"postgresql://postgres:@/{name}?host={standby.directory},{postgres.directory}"
        async with Catalog.open(both) as either, Catalog.open(standby.url(name)) as catalog:
            await write(either)  # of the two, the primary
            for _ in range(2):
                await read(catalog)
                with pytest.raises(CatalogUnavailable, match="read-only"):
                    await write(catalog)
            standby.execute("select pg_promote()")
            await write(catalog)


def takes_writes(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        return connection.execute("show default_transaction_read_only").fetchone() == ("off",)


async def test_sessions_that_were_opened_read_only_do_not_outlive_it(
    database_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "READ_ONLY_SECONDS", 0.0)
    # Of a database alone it does not count. Here it stands for a server, which other tests use too.
    monkeypatch.setattr(session_module, "_READ_WRITE", "select")
    name = str(conninfo_to_dict(database_url)["dbname"])
    setting = "default_transaction_read_only"
    for on, off in (
        (f"alter database {name} set {setting} = on", f"alter database {name} reset {setting}"),
        (f"alter system set {setting} = on", f"alter system reset {setting}"),
    ):
        postgres.execute(on)
        try:
            postgres.execute("select pg_reload_conf()")
            async with Catalog.open(database_url) as catalog:
                await read(catalog)
                postgres.execute(off)
                postgres.execute("select pg_reload_conf()")
                eventually(lambda: takes_writes(database_url), "new sessions take writes again")
                await asyncio.gather(*(write(catalog) for _ in range(POOL_CONNECTIONS)))
        finally:
            postgres.execute(off)


async def test_a_prepared_statement_that_no_longer_fits_fails_once(database_url: str) -> None:
    async def prepared(catalog: Catalog) -> None:
        async with catalog.connection() as connection:
            for _ in range(POOL_CONNECTIONS):
                await connection.execute("select * from changed")

    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        await connection.execute("create table changed (a int)")
    for change in ("alter table changed add column b int", "deallocate all"):
        async with Catalog.open(database_url) as catalog:  # with one connection at first
            await prepared(catalog)
            # Unseen by the driver, which forgets its prepared statements when it sees such a command.
            async with catalog.connection() as connection:
                await connection.execute(f"do $$ begin execute '{change}'; end $$".encode())
            with pytest.raises(CatalogUnavailable):
                await prepared(catalog)
            await prepared(catalog)
