"""Output locks: a session that is lost costs nothing, whatever became of its locks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from blocks.catalog import OutputLocks
from blocks.errors import CatalogUnavailable, InvalidSettings
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import process
from tests.stack_driver import PATIENCE_SECONDS, eventually, unused_port

_LOCK_SESSIONS = """
    select distinct pid from pg_locks where locktype = 'advisory'
     and database = (select oid from pg_database where datname = current_database())
"""


def terminate_lock_sessions(database_url: str) -> int:
    """End every session that holds an advisory lock on the database; how many there were."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        pids = [pid for (pid,) in connection.execute(_LOCK_SESSIONS)]
        for pid in pids:
            connection.execute("select pg_terminate_backend(%s)", [pid])
        return len(pids)


def none_is_locked(database_url: str) -> bool:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return connection.execute(_LOCK_SESSIONS).fetchone() is None


async def test_a_lost_session_is_replaced_and_its_locks_are_taken_again(database_url: str) -> None:
    async with OutputLocks.open(database_url) as ours, OutputLocks.open(database_url) as theirs:
        assert await ours.try_acquire({"a", "b"}) == {"a", "b"}
        for _ in range(3):
            assert terminate_lock_sessions(database_url) == 1
            assert await ours.try_acquire({"c"}) == {"c"}
            await ours.release({"c"})
            assert await theirs.try_acquire({"a", "b", "c"}) == {"c"}
            await theirs.release({"c"})
        await ours.release({"a", "b"})
        assert await theirs.try_acquire({"a", "b"}) == {"a", "b"}


async def test_what_another_run_locks_meanwhile_stays_its_own(database_url: str) -> None:
    async with OutputLocks.open(database_url) as ours, OutputLocks.open(database_url) as theirs:
        assert await ours.try_acquire({"a"}) == {"a"}
        terminate_lock_sessions(database_url)
        eventually(lambda: none_is_locked(database_url), "the lock is free")
        assert await theirs.try_acquire({"a"}) == {"a"}
        assert await ours.try_acquire({"b"}) == {"b"}
        await ours.release({"a", "b"})
        assert await ours.try_acquire({"a"}) == set()
        await theirs.release({"a"})
        assert await ours.try_acquire({"a"}) == {"a"}


async def test_a_session_that_only_its_server_knows_does_not_hold_up_its_own_run(database_url: str) -> None:
    async with OutputLocks.open(database_url) as ours:
        assert await ours.try_acquire({"a"}) == {"a"}
        silent, ours._session = ours._session, None
        assert silent is not None
        assert await ours.try_acquire({"b"}) == {"b"}
        await ours.release({"a", "b"})
        eventually(lambda: none_is_locked(database_url), "the server has ended the old session")
        await silent.close()


async def test_a_lost_session_that_takes_its_time_to_end_keeps_no_lock_from_its_own_run(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.catalog.output_locks._END_AND_WAIT", "pg_terminate_backend(pid, 240000)")
    async with OutputLocks.open(database_url) as ours, OutputLocks.open(database_url) as theirs:
        assert await ours.try_acquire({"a"}) == {"a"}
        with psycopg.connect(database_url, autocommit=True) as connection:
            ((ending,),) = connection.execute(_LOCK_SESSIONS).fetchall()
            waits = (
                "select from pg_stat_activity where datname = current_database() and wait_event = 'BackendTermination'"
            )
            assert ours._session is not None
            os.kill(ending, signal.SIGSTOP)
            try:
                ours._session.pgconn.finish()
                acquiring = asyncio.create_task(ours.try_acquire({"b"}))
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while connection.execute(waits).fetchone() is None:
                        assert not acquiring.done(), "it does not wait for the end of its last session"
                        await asyncio.sleep(0.02)
            finally:
                os.kill(ending, signal.SIGCONT)
        assert await acquiring == {"b"}
        assert await theirs.try_acquire({"a", "b"}) == set()


async def test_without_a_session_work_goes_on(database_url: str) -> None:
    silent_server = f"host=127.0.0.1 port={unused_port()} dbname=waybill user=waybill"
    for broken in (silent_server, make_conninfo(database_url, user="no_such_role")):
        async with OutputLocks.open(broken) as locks:
            assert await locks.try_acquire({"a"}) == {"a"}
            await locks.release({"a"})
            with pytest.raises((CatalogUnavailable, InvalidSettings)):
                await locks.try_acquire({"a"}, required=True)


async def test_a_lock_that_was_lost_is_given_back_once(database_url: str) -> None:
    async with OutputLocks.open(database_url) as ours, OutputLocks.open(database_url) as theirs:
        for _ in range(2):
            assert await ours.try_acquire({"a"}) == {"a"}
        terminate_lock_sessions(database_url)
        await ours.release({"a"})
        assert await theirs.try_acquire({"a"}) == set()
        await ours.release({"a"})
        assert await theirs.try_acquire({"a"}) == {"a"}


async def test_a_run_whose_lock_sessions_are_ended_loses_no_document(workspace: Workspace) -> None:
    for number in range(30):
        workspace.write(f"{number}.txt", f"document {number}")
    ended = 0

    async def end_sessions() -> None:
        nonlocal ended
        while True:
            ended += await asyncio.to_thread(terminate_lock_sessions, workspace.database_url)
            await asyncio.sleep(0)

    ending = asyncio.create_task(end_sessions())
    try:
        run_id = await process(workspace.documents)
    finally:
        ending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ending
    assert ended > 0
    with psycopg.connect(workspace.database_url) as connection:
        outputs = connection.execute(
            "select count(distinct run_outputs.source_file) from run_outputs join artifacts using (file_id) "
            "where run_outputs.run_id = %s and kind = 'stage_output'", [run_id],
        ).fetchone()  # fmt: skip
    assert outputs == (30,)
