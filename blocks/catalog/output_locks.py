"""Output locks: which run is making which output now, as Postgres advisory locks on stage keys.

Without them, two runs with the same content at the same time would both find nothing to reuse and do the work twice.
The locks belong to one session per run, so Postgres releases them when a run dies. A session that is lost is replaced,
and the locks that the run still wants are taken again.

They are an optimisation, not a guarantee: without them both copies are correct. So no failure to lock is an error,
except where a caller requires the lock: the run works on as if it held the locks. They need a session, so no
transaction-pooling proxy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Any, Self
from uuid import uuid4

import psycopg

from blocks.errors import CatalogUnavailable, WaybillError
from blocks.postgres import connect_async, postgres_errors
from blocks.runtime.outage_log import OutageLog

_LOG = logging.getLogger("waybill.locks")

# Locking waits for nothing, so an answer takes milliseconds. A session that does not answer is lost.
_ANSWER_SECONDS = 10.0
# A session of our own that is being ended has its locks until its process has ended, in milliseconds. Servers wait for
# that since this version (`server_version`).
_END_AND_WAIT, _END_AND_WAIT_SINCE = "pg_terminate_backend(pid, 5000)", 140_000
_END = "pg_terminate_backend(pid)"

_TRY = """
    select key from unnest(%(keys)s::text[]) as key
     where pg_try_advisory_lock(hashtextextended(key, 0))
"""
_RELEASE = "select pg_advisory_unlock(hashtextextended(key, 0)) from unnest(%(keys)s::text[]) as key"
# The server finds out in a minute, not in two hours, that the other end of a session has vanished with its machine, and
# lets other runs have the locks. It may not have found out yet about our own last session, or be about to end it: that
# one is ended here and waited for, or this run would wait for itself. By a name of its own a run knows its sessions.
_BEGIN = """
    select set_config('application_name', %(name)s, false), set_config('tcp_keepalives_idle', '30', false),
           set_config('tcp_keepalives_interval', '10', false), set_config('tcp_keepalives_count', '3', false),
           (select count({end}) from pg_stat_activity
             where application_name = %(name)s and pid <> pg_backend_pid())
"""

Session = psycopg.AsyncConnection[tuple[Any, ...]]


class OutputLocks:
    """The locks of one run. Counted: a stage key acquired twice is released twice."""

    def __init__(self, database_url: str, name: str) -> None:
        self._database_url = database_url
        self._name = name
        self._session: Session | None = None
        # Replaced with its locks when it is lost. What another run has got meanwhile is no longer held.
        self._held: Counter[str] = Counter()
        self._one_statement = asyncio.Lock()  # a connection runs one at a time
        self._outage = OutageLog(_LOG, "locking outputs")

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str, *, name: str | None = None) -> AsyncGenerator[Self]:
        """Yield the locks of a run, all of which are released after the block. The first use opens the session.

        *name* is that of the session, which only this run may have.
        """
        locks = cls(database_url, name or f"waybill locks {uuid4()}")
        try:
            yield locks
        finally:
            await locks._close()

    async def try_acquire(self, keys: Collection[str], *, required: bool = False) -> set[str]:
        """Lock those of the stage *keys* that no other session holds, and return them. Does not wait.

        Returns all of them while Postgres cannot be asked; with *required*, raises `CatalogUnavailable` or
        `InvalidSettings` instead.
        """
        wanted = set(keys)
        if not wanted:
            return wanted
        async with self._one_statement:
            for is_last in (False, True):
                try:
                    got = await self._execute(_TRY, wanted)
                except WaybillError as error:
                    if is_last and required:
                        raise
                    if is_last:
                        self._outage.failed(error)
                else:
                    self._outage.succeeded()
                    self._held.update(got)
                    return set(got)
        return wanted

    async def release(self, keys: Collection[str]) -> None:
        """Unlock those of *keys* that this run holds. A session that has ended has unlocked them."""
        async with self._one_statement:
            held = [key for key in set(keys) if self._held[key] > 0]
            self._held.subtract(held)
            self._held = +self._held
            with suppress(WaybillError):
                if held and self._session is not None:
                    await self._execute(_RELEASE, held)
            with suppress(WaybillError):
                if self._held:  # in a fresh session, where needed
                    await self._execute(_TRY, [])

    async def _execute(self, statement: str, keys: Collection[str]) -> list[str]:
        """Return the first column of the answer. Raises `WaybillError`, and then there is no session any more."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                session = await self._open_session()
                with postgres_errors("lock the outputs to be made"):
                    cursor = await session.execute(statement.encode(), {"keys": list(keys)})
                    return [str(row[0]) for row in await cursor.fetchall()]
        except WaybillError:
            await self._close()
            raise
        except TimeoutError:
            await self._close()
            raise CatalogUnavailable("cannot lock the outputs to be made now: Postgres does not answer") from None

    async def _open_session(self) -> Session:
        """Return the session; a fresh one gets the locks that are held, as far as they are free."""
        if self._session is None or self._session.closed:
            self._session = await connect_async(self._database_url, autocommit=True)
            with postgres_errors("lock the outputs to be made"):
                waits = self._session.info.server_version >= _END_AND_WAIT_SINCE
                begin = _BEGIN.format(end=_END_AND_WAIT if waits else _END)
                await self._session.execute(begin.encode(), {"name": self._name})
                cursor = await self._session.execute(_TRY.encode(), {"keys": list(self._held.elements())})
                self._held = Counter(str(row[0]) for row in await cursor.fetchall())
        return self._session

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(psycopg.Error):
                await session.close()
