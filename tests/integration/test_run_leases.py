"""Runs of other homes that have died, or were stopped for long: found by their leases, cleared up after, fenced off.

The processes are real ones, which are killed and stopped. Time passes by setting the renewal of a lease back.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.logging import disable_run_logger
from prefect.states import Running

from blocks.catalog import Catalog, OutputLocks
from blocks.custody import Custody
from blocks.errors import RunLost
from blocks.postgres import single_connection
from blocks.runs import run_lease
from blocks.runs.home_id import home_id
from blocks.runs.run_lease import LOST_AFTER_SECONDS, STOPPED_AFTER_SECONDS, given_up, hold_lease, read_lease, suspects
from blocks.runs.run_lock import hold_run_lock
from blocks.settings import Settings
from blocks.storage import open_backend
from flows.processing.clear_up import clear_up_dead_runs, clear_up_lost_runs
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import new_run
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import PLAIN

# A run of another home: it reserves a file, and goes on with it when its standard input has a line.
_RUN = """
import asyncio, json, sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID
from blocks.catalog import Catalog, Draft, OutputLocks
from blocks.custody import Custody
from blocks.errors import WaybillError
from blocks.keys import StorageKeys
from blocks.runs import run_lease
from blocks.runs.home_id import home_id
from blocks.runs.run_lease import hold_lease, locks_name
from blocks.runs.run_lock import hold_run_lock
from blocks.storage import open_backend

url, store, home, run_id, constants = sys.argv[1:]
for name, value in json.loads(constants).items():
    setattr(run_lease, name, value)
run = UUID(run_id)

def say(what):
    print(what, flush=True)

async def work(custody, lease, locks):
    draft = Draft(kind="upload", filename="x", source_file="x", document_sha256="d" * 64, media_type="x/y",
                  keep_for=timedelta(days=1), run_id=run)
    await locks.try_acquire(["output"])
    (reservation,) = await custody.reserve([draft])
    lines = asyncio.StreamReader()
    # Not in a thread: a run that ends would wait for the next line.
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say("reserved")
    while await lines.readline():
        for what in (custody.fill(reservation, b"content"), custody.reserve([draft])):
            try:
                await what
            except WaybillError as error:
                say(type(error).__name__)
            else:
                say("done")

async def main():
    async with Catalog.open(url) as catalog:
        custody = Custody(catalog=catalog, backend=open_backend(store), keys=StorageKeys(recipient=None))
        with hold_run_lock(Path(home), run):
            async with (
                hold_lease(url, run_id=run, home=home_id(Path(home))) as lease,
                OutputLocks.open(url, name=locks_name(lease.holder)) as locks,
            ):
                custody.confirm = lease.confirm
                await work(custody, lease, locks)

try:
    asyncio.run(main())
except WaybillError as error:
    say(f"ended with {type(error).__name__}")
"""

_CUT = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = %s"
_HELD = """
    select count(*) from pg_locks join pg_stat_activity using (pid)
     where locktype = 'advisory' and application_name = %s
"""


class OtherRun:
    """A run in a home of its own."""

    def __init__(self, process: subprocess.Popen[str], run_id: UUID, home: Path) -> None:
        self.process, self.run_id, self.home = process, run_id, home

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def goes_on(self) -> None:
        stdin: IO[str] | None = self.process.stdin
        assert stdin is not None
        stdin.write("\n")
        stdin.flush()

    def is_killed(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


@contextmanager
def other_run(
    workspace: Workspace, run_id: UUID | None = None, constants: Mapping[str, float] | None = None
) -> Iterator[OtherRun]:
    chosen = run_id or uuid4()
    home = workspace.home.parent / "other-home"
    arguments = [workspace.database_url, str(workspace.home / "artifacts"), str(home), str(chosen)]
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, *arguments, json.dumps(constants or {})],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield OtherRun(process, chosen, home)
        finally:
            process.kill()


@pytest.fixture
async def custody(workspace: Workspace) -> AsyncIterator[Custody]:
    """The custody of a run of this home, without a storage key as that of the other run."""
    async with Catalog.open(workspace.database_url) as catalog:
        yield Custody(catalog=catalog, backend=open_backend(str(workspace.home / "artifacts")), keys=PLAIN)


def silent_for(workspace: Workspace, run_id: UUID, seconds: float) -> None:
    """Set the last renewal back. The server of the tests may be younger, so its start does not count here."""
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute(
            "update run_leases set renewed_at = clock_timestamp() - make_interval(secs => %s) where run_id = %s",
            [seconds, run_id],
        )


@pytest.fixture(autouse=True)
def server_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    sql = run_lease.sql
    for name in ("TAKE", "ONE", "SUSPECTS", "GIVE_UP"):
        monkeypatch.setattr(sql, name, getattr(sql, name).replace("pg_postmaster_start_time()", "'-infinity'"))


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


async def cleared(settings: Settings, custody: Custody) -> list[UUID]:
    with disable_run_logger():
        return await clear_up_lost_runs(settings, custody)


def rows(workspace: Workspace, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(workspace.database_url) as connection:
        return connection.execute(statement.encode()).fetchall()


def leases_and_files(workspace: Workspace) -> tuple[int, int]:
    (counts,) = rows(workspace, "select (select count(*) from run_leases), (select count(*) from artifacts)")
    return int(str(counts[0])), int(str(counts[1]))


async def test_a_killed_run_of_another_home_is_cleared_up_after_once_it_has_been_silent(
    workspace: Workspace, settings: Settings, custody: Custody, client: PrefectClient
) -> None:
    shown = await new_run(client, Running())
    with other_run(workspace, shown.id) as run:
        assert run.says() == "reserved"
        silent_for(workspace, run.run_id, LOST_AFTER_SECONDS + 1)
        assert await cleared(settings, custody) == []  # it lives, and its session has the lock
        run.is_killed()
        silent_for(workspace, run.run_id, LOST_AFTER_SECONDS / 2)
        assert await cleared(settings, custody) == []  # its connection may have been cut a moment ago
        assert leases_and_files(workspace) == (1, 1)
        silent_for(workspace, run.run_id, LOST_AFTER_SECONDS + 1)
        assert await cleared(settings, custody) == [run.run_id]
    assert leases_and_files(workspace) == (0, 0)
    assert (await client.read_flow_run(shown.id)).state_name == "Crashed"
    assert await cleared(settings, custody) == []


# Its own clock shows how long it was stopped, which here are moments: with no time left it has been too long at once.
@pytest.mark.parametrize("constants", [{"RENEW_SECONDS": 0.02, "LOST_AFTER_SECONDS": 0.0}, {"LOST_AFTER_SECONDS": 0.0}])
async def test_a_run_that_was_stopped_for_longer_than_its_lease_does_no_harm_when_it_comes_back(
    workspace: Workspace, settings: Settings, custody: Custody, constants: dict[str, float]
) -> None:
    """It notices by its next renewal, or before it reserves anything; what it had reserved is gone."""
    with other_run(workspace, constants=constants) as run:
        assert run.says() == "reserved"
        run.process.send_signal(signal.SIGSTOP)
        silent_for(workspace, run.run_id, STOPPED_AFTER_SECONDS - 30)
        assert await cleared(settings, custody) == []  # it may be busy
        silent_for(workspace, run.run_id, STOPPED_AFTER_SECONDS + 1)
        assert await cleared(settings, custody) == [run.run_id]
        # Another run does not wait for what it was making.
        async with OutputLocks.open(workspace.database_url) as locks:
            await until(lambda: locks.try_acquire(["output"]))
        run.goes_on()
        run.process.send_signal(signal.SIGCONT)
        if "RENEW_SECONDS" not in constants:
            assert [run.says(), run.says()] == ["ArtifactNotFound", "RunLost"]
        else:
            assert "ended with RunLost" in [run.says() for _ in range(3)]
    assert leases_and_files(workspace) == (0, 0)
    assert [path for path in (workspace.home / "artifacts").rglob("*") if path.is_file()] == []


async def test_a_run_whose_session_was_cut_goes_on_and_has_its_lock_again(
    workspace: Workspace, settings: Settings, custody: Custody
) -> None:
    with other_run(workspace, constants={"RENEW_SECONDS": 0.02}) as run:
        assert run.says() == "reserved"
        async with custody.catalog.connection() as connection:
            before = await read_lease(connection, run.run_id)
        assert before is not None
        with psycopg.connect(workspace.database_url) as connection:
            values = [f"waybill run {before.holder}"]
            assert connection.execute(_CUT, values).fetchall() == [(True,)]

        async def holds_its_lock() -> bool:
            with psycopg.connect(workspace.database_url) as connection:
                return connection.execute(_HELD, values).fetchall() == [(1,)]

        await until(holds_its_lock)
        assert await cleared(settings, custody) == []
        run.goes_on()
        assert [run.says(), run.says()] == ["done", "done"]


async def test_a_silent_run_of_this_home_is_judged_by_its_file_lock(
    workspace: Workspace, settings: Settings, custody: Custody
) -> None:
    """A laptop has slept with its database: the run lives, and has not renewed its lease yet."""
    run_id = uuid4()
    with hold_run_lock(workspace.home, run_id):
        async with hold_lease(workspace.database_url, run_id=run_id, home=home_id(workspace.home)) as lease:
            silent_for(workspace, run_id, STOPPED_AFTER_SECONDS * 9)
            assert await cleared(settings, custody) == []
            await lease.renew()
    # A dead one is cleared up after at once.
    with pytest.raises(KeyError), hold_run_lock(workspace.home, run_id):
        async with hold_lease(workspace.database_url, run_id=run_id, home=home_id(workspace.home)):
            raise KeyError
    assert leases_and_files(workspace) == (1, 0)
    with disable_run_logger():
        await clear_up_dead_runs(settings, custody)
    assert leases_and_files(workspace) == (0, 0)


async def test_a_run_that_is_begun_again_elsewhere_waits_for_the_lease_and_at_home_does_not(
    workspace: Workspace,
) -> None:
    url, run_id = workspace.database_url, uuid4()
    with pytest.raises(KeyError):
        async with hold_lease(url, run_id=run_id, home="first"):
            raise KeyError
    async with hold_lease(url, run_id=run_id, home="first"):
        pass
    with pytest.raises(KeyError):
        async with hold_lease(url, run_id=run_id, home="first"):
            raise KeyError
    taken = asyncio.Event()

    async def elsewhere() -> None:
        async with hold_lease(url, run_id=run_id, home="second"):
            taken.set()

    waiting = asyncio.create_task(elsewhere())
    await asyncio.sleep(2 * run_lease._TRY_AGAIN_SECONDS)
    assert not taken.is_set()
    silent_for(workspace, run_id, LOST_AFTER_SECONDS + 1)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waiting
    assert leases_and_files(workspace) == (0, 0)


async def test_of_several_that_clear_up_one_does_and_an_interrupted_one_is_done_again(workspace: Workspace) -> None:
    url, run_id = workspace.database_url, uuid4()
    with pytest.raises(KeyError):
        async with hold_lease(url, run_id=run_id, home="other"):
            raise KeyError
    silent_for(workspace, run_id, LOST_AFTER_SECONDS + 1)
    async with single_connection(url) as one, single_connection(url) as other:
        (lease,) = await suspects(one)
        with pytest.raises(KeyError):
            async with given_up(one, lease) as dead, given_up(other, lease) as also:
                assert (dead, also) == (True, False)
                raise KeyError
        # It stays given up, also when it is renewed too late.
        (again,) = await suspects(one)
        assert again.given_up
        async with given_up(other, again) as dead:
            assert dead
        assert await suspects(one) == []


async def test_the_block_of_a_run_ends_when_its_lease_is_lost(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lease, "RENEW_SECONDS", 0.02)
    run_id = uuid4()
    with pytest.raises(RunLost):
        async with hold_lease(workspace.database_url, run_id=run_id, home="home"):
            with psycopg.connect(workspace.database_url) as connection:
                connection.execute("update run_leases set given_up_at = clock_timestamp()")
            await asyncio.Event().wait()


def test_a_server_that_has_just_started_finds_nobody_dead(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could renew a lease while it was away."""
    monkeypatch.undo()
    for statement in (run_lease.sql.ONE, run_lease.sql.SUSPECTS, run_lease.sql.TAKE, run_lease.sql.GIVE_UP):
        assert "greatest(run_leases.renewed_at, pg_postmaster_start_time())" in statement
    since_start = rows(workspace, "select extract(epoch from clock_timestamp() - pg_postmaster_start_time())::float8")
    run_id = uuid4()
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("insert into run_leases (run_id, holder, home) values (%s, %s, 'x')", [run_id, uuid4()])
    silent_for(workspace, run_id, 10**6)
    with psycopg.connect(workspace.database_url) as connection:
        row = connection.execute(run_lease.sql.ONE.encode(), {"run_id": run_id}).fetchone()
    assert row is not None
    assert float(str(since_start[0][0])) <= row[3] < 10**6
