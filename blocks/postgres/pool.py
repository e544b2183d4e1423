"""A pool of connections, with time limits on getting one and on each answer.

libpq has no limit on an answer: a server that is stopped or cut off keeps connections open and silent for hours.
"""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import orjson
import psycopg
from psycopg import errors as pg
from psycopg.abc import PQGen
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from blocks.errors import CatalogUnavailable
from blocks.postgres.connection import Connection, Row, check_url, connect_arguments, connect_async, postgres_errors
from blocks.postgres.session import set_up_async_session

Pool = AsyncConnectionPool[Connection]
ResultT = TypeVar("ResultT")

# A flow works on a few shards, each with one write in flight per document being stored; more connections would only
# queue inside Postgres.
POOL_CONNECTIONS = 8
# Longer than a restart of Postgres takes, shorter than a person's timeouts.
CONNECT_TIMEOUT_SECONDS = 15.0
# While it reconnects, the pool doubles its pauses, so it would return as late again as the outage was long. Giving up
# this early and starting over keeps the pauses at a second.
RECONNECT_SECONDS = 2.0
# A connection that takes no writes is used this long, for reads. Then a fresh one may find a server that takes them.
READ_ONLY_SECONDS = 1.0
_READ_ONLY_PARAMETERS = ("in_hot_standby", "default_transaction_read_only")
# psycopg's default: how often it checks for an interrupt.
_WAIT_INTERVAL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """*connection_seconds* for a free, working connection; *answer_seconds* for one statement, None for no limit."""

    connection_seconds: float = CONNECT_TIMEOUT_SECONDS
    answer_seconds: float | None = None


# For runs, which wait for a database to return rather than fail.
LONG_TIMEOUTS = Timeouts()


class BoundedConnection(psycopg.AsyncConnection[Row]):
    """A connection that is closed when an answer takes too long: the server may still be working on the statement."""

    answer_seconds: float | None = None
    opened_at: float = 0.0

    async def wait(
        self,
        gen: PQGen[ResultT],
        interval: float = _WAIT_INTERVAL_SECONDS,
        timeout: float | None = None,  # noqa: ASYNC109 - as psycopg has it
    ) -> ResultT:
        """Everything that is asked of the server passes here. Raises `psycopg.OperationalError` after the time."""
        if timeout is not None or self.answer_seconds is None:
            return await super().wait(gen, interval, timeout)
        try:
            return await super().wait(gen, interval, self.answer_seconds)
        except pg._WaitTimeout as exc:  # pyright: ignore[reportPrivateUsage] - it has no other name
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer within {self.answer_seconds:g} s") from exc


@asynccontextmanager
async def open_pool(database_url: str, timeouts: Timeouts) -> AsyncGenerator[Pool]:
    """A pool that has a connection, for the length of the block.

    Raises `CatalogUnavailable` when Postgres does not answer within `CONNECT_TIMEOUT_SECONDS`, and `InvalidSettings`.
    """
    check_url(database_url)
    pool: Pool = AsyncConnectionPool(
        database_url,
        min_size=1,
        max_size=POOL_CONNECTIONS,
        timeout=timeouts.connection_seconds,
        reconnect_timeout=RECONNECT_SECONDS,
        reconnect_failed=_reconnect,
        kwargs={
            "row_factory": dict_row,
            "autocommit": True,
            **connect_arguments(database_url, longest_seconds=timeouts.connection_seconds),
        },
        configure=_configured(timeouts, database_url),
        connection_class=cast("type[Connection]", BoundedConnection),
        open=False,
    )
    try:
        await pool.open(wait=True, timeout=CONNECT_TIMEOUT_SECONDS)
    except PoolTimeout as exc:
        await pool.close()
        # The pool has retried without reporting the reason, which may be a wrong password: this attempt raises it.
        await (await connect_async(database_url)).close()
        raise CatalogUnavailable(
            f"Postgres did not answer within {CONNECT_TIMEOUT_SECONDS:.0f} s; check WAYBILL_DATABASE_URL"
        ) from exc
    try:
        yield pool
    finally:
        await pool.close()


class Connections:
    """Replaces the connections that an outage broke, so that one call fails after a restart of Postgres, not one for
    each connection; and those that refuse to write, so that none fails once the server takes writes again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._check: asyncio.Task[None] | None = None
        self._drained_at = -math.inf

    @asynccontextmanager
    async def working(self) -> AsyncGenerator[Connection]:
        """Take a connection from the pool. One that its server has ended, or that has been read-only for a while, is
        replaced before it is used; one whose session is stale after it has failed.
        """
        for may_replace in (*[True] * POOL_CONNECTIONS, False):
            async with self._pool.connection() as connection:
                if may_replace and not await self._is_usable(connection):
                    continue
                try:
                    with postgres_errors("use the database"):
                        yield connection
                except CatalogUnavailable as exc:
                    if exc.context.get("stale_session"):
                        await self._give_up(connection)
                    raise
                return

    async def _is_usable(self, connection: Connection) -> bool:
        """Return whether *connection* is to be used. Closes it otherwise; another one takes its place in the pool."""
        if _has_received(connection):
            try:
                await connection.execute("")
            except psycopg.Error:
                await connection.close()
                return False
        if _is_read_only(cast("BoundedConnection", connection)):
            await self._give_up(connection)
            return False
        return True

    async def _give_up(self, connection: Connection) -> None:
        """Close *connection*, and the others of its age unless that was just done."""
        await connection.close()
        if time.monotonic() - self._drained_at > READ_ONLY_SECONDS:
            self._drained_at = time.monotonic()
            await self._pool.drain()

    async def replace_broken(self, *, within_seconds: float) -> None:
        """Check idle connections and drop broken ones. One check at a time; it continues in the background after
        *within_seconds*.

        A check is never cancelled: the pool would lose the connections that it is checking.
        """
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._check_all())
            await asyncio.wait([self._check], timeout=within_seconds)

    async def _check_all(self) -> None:
        try:
            await self._pool.check()
        except psycopg.Error:
            return  # closed meanwhile


async def _reconnect(pool: Pool) -> None:
    # With no connection left, a check starts another attempt to connect.
    await pool.check()


def _has_received(connection: Connection) -> bool:
    """Return whether something waits to be read, which an idle connection receives at its end and hardly ever else."""
    idle = select.poll()
    idle.register(connection.fileno(), select.POLLIN)
    return bool(idle.poll(0))


def _is_read_only(connection: BoundedConnection) -> bool:
    """Return whether the server has said that *connection* takes no writes, and had time to change its mind.

    Asks nothing: PostgreSQL reports both since version 14.
    """
    if time.monotonic() - connection.opened_at < READ_ONLY_SECONDS:
        return False
    return any(connection.info.parameter_status(name) == "on" for name in _READ_ONLY_PARAMETERS)


def _configured(timeouts: Timeouts, database_url: str) -> Callable[[Connection], Any]:
    async def configure(connection: Connection) -> None:
        bounded = cast("BoundedConnection", connection)
        bounded.answer_seconds, bounded.opened_at = timeouts.answer_seconds, time.monotonic()
        # A page of a list has two hundred small JSON values, and parsing them is most of its cost.
        set_json_loads(orjson.loads, connection)
        await set_up_async_session(connection, database_url)

    return configure
