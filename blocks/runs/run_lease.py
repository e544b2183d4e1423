"""Run leases: which runs of a catalogue are alive, in whatever home and on whatever machine.

A run has a row in `run_leases`, which it renews, and a session of Postgres with an advisory lock on its id. The lock
ends with the process; the time of renewal shows a process that was stopped, or a machine that is gone. A lease that was
given up cannot be renewed: a process that comes back finds out, and ends. ADR 0033 has the table of failures.

All times are of the database's clock. Refuses to decide about runs of the own home: there the file lock knows
(`run_lock`), also while machine and database have slept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg

from blocks.catalog import Connection
from blocks.errors import CatalogUnavailable, RunLost, WaybillError
from blocks.postgres import connect_async, execute, fetch_all, fetch_optional, fetch_row, postgres_errors
from blocks.runs import lease_statements as sql
from blocks.runtime.background_tasks import ended_by
from blocks.runtime.outage_log import OutageLog

_LOG = logging.getLogger("waybill.runs")

# One statement; a run misses several before it counts as dead.
RENEW_SECONDS = 10.0
# The lock is free: the process has ended, or its connection was cut and it opens another one within seconds.
LOST_AFTER_SECONDS = 60.0
# The lock is held: the process was stopped, or is too busy to send a statement. Longer than any of its statements.
STOPPED_AFTER_SECONDS = 180.0
# Statements by primary key answer in milliseconds. A session that does not answer is replaced.
_ANSWER_SECONDS = 10.0
# Between attempts to take a lease that another process has.
_TRY_AGAIN_SECONDS = 0.5
# A session that is being ended has its lock until its process has ended: milliseconds.
_ENDING_TRIES, _ENDING_PAUSE_SECONDS = 100, 0.05


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A row of `run_leases`; *silent_seconds* since it was renewed, or since the server has been up."""

    run_id: UUID
    holder: UUID
    home: str
    silent_seconds: float
    given_up: bool


class RunLease:
    """The lease of one run, in the process that holds it."""

    def __init__(self, database_url: str, *, run_id: UUID, home: str) -> None:
        self.holder = uuid4()
        self._database_url = database_url
        self._values = {"run_id": run_id, "holder": self.holder, "home": home, "lost_seconds": LOST_AFTER_SECONDS}
        self._session: psycopg.AsyncConnection[Any] | None = None
        self._has_lock = False
        self._one_statement = asyncio.Lock()  # a connection runs one at a time
        self._renewed_at = _now()
        self._outage = OutageLog(_LOG, "renewing the lease of the run")

    async def confirm(self) -> None:
        """Make sure that this process still has the run, where it may have been stopped. Else costs nothing.

        Raises `RunLost`, `CatalogUnavailable`.
        """
        if _now() - self._renewed_at > LOST_AFTER_SECONDS / 2:
            await self.renew()

    async def renew(self) -> None:
        """Show that this process lives. Raises `RunLost` when it was taken for dead, `CatalogUnavailable`."""
        asked_at = _now()
        async with self._one_statement:
            try:
                found = await self._fetch(sql.RENEW)
            except CatalogUnavailable:  # the session had ended: one more time, in a fresh one
                found = await self._fetch(sql.RENEW)
        if found is None:
            raise RunLost(
                "this process was stopped, or cut off from the database, for so long that the run was taken for dead; "
                "what it has stored stays: run the same again",
            )
        self._renewed_at = asked_at

    async def take(self) -> None:
        """Take the lease. Waits while a process of another home has it. Raises `CatalogUnavailable`."""
        while True:
            async with self._one_statement:
                await self._fetch("select 1")
                if self._has_lock and await self._fetch(sql.TAKE) is not None:
                    return
            await asyncio.sleep(_TRY_AGAIN_SECONDS)

    async def until_lost(self) -> RunLost:
        """Renew the lease until that is refused; return why."""
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew()
            except RunLost as lost:
                return lost
            except WaybillError as error:
                self._outage.failed(error)
            else:
                self._outage.succeeded()

    async def end(self) -> None:
        """Give the lease back. Without a database it is found like that of a dead run."""
        with suppress(WaybillError):
            async with self._one_statement:
                await self._fetch(sql.END)

    async def close(self) -> None:
        """End the session, and with it the lock."""
        session, self._session, self._has_lock = self._session, None, False
        if session is not None:
            with suppress(psycopg.Error):
                await session.close()

    async def _fetch(self, statement: str) -> Any:
        """Return the first row, None without one. Raises `CatalogUnavailable`, and then there is no session."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                session = await self._open_session()
                with postgres_errors("use the lease of the run"):
                    cursor = await session.execute(statement.encode(), self._values)
                    return await cursor.fetchone() if cursor.description else None
        except WaybillError:
            await self.close()
            raise
        except TimeoutError:
            await self.close()
            raise CatalogUnavailable("cannot use the lease of the run now: Postgres does not answer") from None

    async def _open_session(self) -> psycopg.AsyncConnection[Any]:
        """Return the session, with the lock as soon as no other session has it."""
        with postgres_errors("use the lease of the run"):
            if self._session is None or self._session.closed:
                self._has_lock = False
                self._session = await connect_async(self._database_url, autocommit=True)
                await self._session.execute(sql.BEGIN.encode(), {"name": session_name(self.holder)})
            if not self._has_lock:
                cursor = await self._session.execute(sql.TRY_LOCK.encode(), self._values)
                row = await cursor.fetchone()
                self._has_lock = row is not None and bool(row[0])
            return self._session


@asynccontextmanager
async def hold_lease(database_url: str, *, run_id: UUID, home: str) -> AsyncGenerator[RunLease]:
    """Hold the lease of *run_id* for the length of the block, and hold its file lock in *home* meanwhile.

    Ends the block with `RunLost` when another process has taken the run for dead. A block that ends with an error
    leaves the row, so that its unfinished work is found like that of a dead run. Raises `CatalogUnavailable`.
    """
    lease = RunLease(database_url, run_id=run_id, home=home)
    try:
        await lease.take()
        async with ended_by(lease.until_lost):
            yield lease
        await lease.end()
    finally:
        await lease.close()


def session_name(holder: UUID) -> str:
    """Return the name of the session of a lease."""
    return f"waybill run {holder}"


def locks_name(holder: UUID) -> str:
    """Return the name of the session of the output locks of a run."""
    return f"waybill locks {holder}"


async def read_lease(connection: Connection, run_id: UUID) -> Lease | None:
    """Return the lease of the run, None without one."""
    row = await fetch_optional(connection, sql.ONE, {"run_id": run_id})
    return _lease(row) if row else None


async def leased(connection: Connection, run_ids: Sequence[UUID]) -> set[UUID]:
    """Return those of the runs that have a lease: they have begun to work, and have not ended well."""
    rows = await fetch_all(connection, sql.OF_RUNS, {"run_ids": list(run_ids)})
    return {row["run_id"] for row in rows}


async def suspects(connection: Connection) -> list[Lease]:
    """Return the leases that have not been renewed for long enough to be looked at, the longest silent first."""
    return [_lease(row) for row in await fetch_all(connection, sql.SUSPECTS, {"lost_seconds": LOST_AFTER_SECONDS})]


async def forget_lease(connection: Connection, run_id: UUID) -> None:
    """Remove the lease of a run that the file lock of its home has shown to be dead."""
    await execute(connection, sql.FORGET, {"run_id": run_id})


@asynccontextmanager
async def given_up(connection: Connection, lease: Lease) -> AsyncGenerator[bool]:
    """Yield whether the run of *lease* is dead; no other process can begin or clear it up during the block.

    Its process, if it comes back, cannot renew the lease. After a block without error the row is gone. *connection* is
    a session of its own, without a transaction. Raises `CatalogUnavailable`.
    """
    values = {"run_id": lease.run_id, "holder": lease.holder, "silent_seconds": LOST_AFTER_SECONDS}
    if not await _lock(connection, lease):
        yield False
        return
    try:
        silent = LOST_AFTER_SECONDS
        dead = await fetch_optional(connection, sql.GIVE_UP, {**values, "silent_seconds": silent}) is not None
        yield dead
        if dead:
            await execute(connection, sql.END, values)
    finally:
        with suppress(WaybillError):
            await execute(connection, sql.UNLOCK, values)


async def _lock(connection: Connection, lease: Lease) -> bool:
    """Lock a run whose process has ended, or has been silent for so long that it is taken for stopped."""
    values = {"run_id": lease.run_id}
    if await _try_lock(connection, values):
        return True
    stopped = {**values, "holder": lease.holder, "silent_seconds": STOPPED_AFTER_SECONDS}
    # First the mark: a process that goes on just now finds it, and does not take the lock again.
    if not lease.given_up and await fetch_optional(connection, sql.GIVE_UP, stopped) is None:
        return False
    # Its output locks too: other runs wait for them. Without a session of its own, another process clears up.
    names = {"names": [session_name(lease.holder), locks_name(lease.holder)]}
    ended = await fetch_row(connection, sql.END_SESSIONS, names)
    for _ in range(_ENDING_TRIES if ended["sessions"] else 0):
        if await _try_lock(connection, values):
            return True
        await asyncio.sleep(_ENDING_PAUSE_SECONDS)
    return False


async def _try_lock(connection: Connection, values: dict[str, Any]) -> bool:
    row = await fetch_optional(connection, sql.TRY_LOCK, values)
    return row is not None and bool(row["got"])


def _lease(row: dict[str, Any]) -> Lease:
    return Lease(**row)


def _now() -> float:
    """Return seconds that also count while the process is stopped or the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
