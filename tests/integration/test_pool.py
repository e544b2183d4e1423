"""Worker processes: whatever a document does there costs only that document."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from blocks.custody.sealing import Sealing
from blocks.errors import (
    StageCrashed,
    StageFailed,
    StageOutOfMemory,
    StageTimedOut,
    StorageFull,
    WaybillError,
)
from blocks.settings import Settings, current_settings
from tasks.contract import SOURCE, DocumentInfo, Services
from tasks.pool import WorkerPool
from tasks.registry import all_stages
from tasks.worker import Job
from tasks.worker_process import WorkerProcess
from tests.child_processes import children_with
from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.stages.in_workers import add_hostile_stage
from waybill.stack.processes import identify, is_running


@asynccontextmanager
async def hostile_pool(
    home: Path, *stages: str, workers: int = 2, sealing: Sealing | None = None
) -> AsyncIterator[WorkerPool]:
    """A pool that knows the hostile stage, and further *stages*; with *sealing* its processes store outputs."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        add_hostile_stage(monkeypatch, *stages)
        current_settings.cache_clear()
        all_stages.cache_clear()
        settings = Settings(
            home=home,
            workers=workers,
            stage_timeout_seconds=PATIENCE_SECONDS,
            stage_silence_seconds=PATIENCE_SECONDS,
            stage_memory_mib=256,
        )
        async with WorkerPool.open(settings, Services(home=home, sealing=sealing)) as opened:
            yield opened
    current_settings.cache_clear()
    all_stages.cache_clear()


@pytest_asyncio.fixture
async def pool(tmp_path: Path) -> AsyncIterator[WorkerPool]:
    async with hostile_pool(tmp_path) as opened:
        yield opened


def impatient(pool: WorkerPool) -> WorkerPool:
    """The same processes, for jobs that may use two seconds, or be silent for two: only those that hang."""
    hasty = copy(pool)
    hasty._settings = replace(pool._settings, stage_timeout_seconds=2.0, stage_silence_seconds=2.0)
    return hasty


def job(folder: Path, text: str, stage: str = "hostile") -> Job:
    source = folder / f"{text}.txt"
    source.write_text(text)
    document = DocumentInfo(
        name=source.name, sha256="0" * 64, size_bytes=1, media_type="text/plain", source=str(source)
    )
    return Job(
        stage_name=stage,
        stage_key="k",
        document=document,
        files={SOURCE: source},
        options={},
        target=folder / f"{text}.out",
    )


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("hang", StageTimedOut),
        ("spin", StageTimedOut),
        ("eat", StageOutOfMemory),
        ("abort", StageOutOfMemory),
        ("exit", StageCrashed),
        ("raise", StageFailed),
        ("full", StorageFull),
    ],
)
async def test_a_hostile_document_costs_only_itself(
    pool: WorkerPool, tmp_path: Path, behaviour: str, expected: type[WaybillError]
) -> None:
    healthy = [job(tmp_path, f"healthy {number}") for number in range(6)]
    results = await asyncio.gather(
        (impatient(pool) if expected is StageTimedOut else pool).run(job(tmp_path, behaviour)),
        *(pool.run(one) for one in healthy),
        return_exceptions=True,
    )
    assert isinstance(results[0], expected)
    assert f"{behaviour}.txt" in str(results[0])
    assert "secret" not in str(results[0])
    assert all(not isinstance(result, BaseException) for result in results[1:])
    assert [one.target.read_text() for one in healthy] == [f"HEALTHY {number}" for number in range(6)]


async def test_what_a_document_leaves_in_its_process_costs_no_other(pool: WorkerPool, tmp_path: Path) -> None:
    for number in range(3):
        await pool.run(job(tmp_path, f"keep {number}"))
        result = await pool.run(job(tmp_path, f"need {number}"))
        assert (result.metadata, result.warnings) == ({"letters": 6}, ())
    with pytest.raises(StageOutOfMemory):
        await pool.run(job(tmp_path, "eat"))


async def test_an_output_that_does_not_fit_is_a_full_disk_and_fits_after_it_was_freed(
    pool: WorkerPool, tmp_path: Path
) -> None:
    """The kernel's limit on the size of files stands for the disk: another error number of the same condition."""
    await pool.run(job(tmp_path, "quick"))  # the process that is limited has started
    (worker,) = pool._processes._idle
    pid = worker._process.pid or 0
    limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4, limit[1]))
    with pytest.raises(StorageFull, match=r"cannot write .*too large.out: File too large; free some space"):
        await pool.run(job(tmp_path, "too large"))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    await pool.run(job(tmp_path, "too large"))
    assert (tmp_path / "too large.out").read_text() == "TOO LARGE"


async def test_a_job_reports_its_time_memory_and_metadata(pool: WorkerPool, tmp_path: Path) -> None:
    result = await pool.run(job(tmp_path, "abc"))
    assert result.metadata == {"letters": 3}
    assert 0 <= result.seconds < PATIENCE_SECONDS
    assert 2**20 < result.peak_memory_bytes < 2**30


async def test_the_time_limit_does_not_count_waiting_in_the_queue(pool: WorkerPool, tmp_path: Path) -> None:
    wanted = [True, True] + [False] * 6
    # A machine that is held up for two seconds may hold up a quick one too, but not each time.
    for _ in range(10):
        jobs = [impatient(pool).run(job(tmp_path, "hang" if n < 2 else f"quick {n}")) for n in range(8)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        timed_out = [isinstance(result, StageTimedOut) for result in results]
        if timed_out == wanted:
            break
    assert timed_out == wanted


def attempts(folder: Path) -> list[tuple[str, int]]:
    """The jobs that linger and their processes, in the order in which they began."""
    found = folder / "attempts"
    lines = found.read_text().splitlines() if found.exists() else []
    return [(line.rpartition(" ")[0], int(line.rpartition(" ")[2])) for line in lines]


async def begun(folder: Path, count: int) -> list[int]:
    """The processes of the last attempts, once there are *count* in all."""
    await asyncio.to_thread(eventually, lambda: len(attempts(folder)) >= count, f"{count} attempts have begun")
    return [pid for _, pid in attempts(folder)]


def forkserver_and_tracker() -> list[int]:
    """The processes that start workers for this one, and clear up after them."""
    named = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
    ours = psutil.Process().children()
    found = [child.pid for name in named for child in children_with(name) if child in ours]
    assert len(found) == len(named)
    return found


@pytest.mark.filterwarnings("ignore:resource_tracker")
async def test_processes_that_die_while_they_wait_cost_nothing(pool: WorkerPool, tmp_path: Path) -> None:
    for target in ("workers", "forkserver and tracker"):
        await asyncio.gather(*(pool.run(job(tmp_path, f"warm {number}")) for number in range(4)))
        idle = pool._processes._idle
        victims = [worker._process.pid for worker in idle] if target == "workers" else forkserver_and_tracker()
        for pid in victims:
            os.kill(pid or 0, signal.SIGKILL)
        eventually(lambda idle=idle: not any(worker.is_alive for worker in idle), "all workers are dead")
        results = await asyncio.gather(*(pool.run(job(tmp_path, f"healthy {number}")) for number in range(6)))
        assert [result.warnings for result in results] == [()] * 6


async def test_a_process_that_is_killed_as_it_starts_costs_nothing(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    wait_until_ready = WorkerProcess.wait_until_ready

    def killed_at_first(self: WorkerProcess) -> WorkerProcess:
        started.append(self._process.pid or 0)
        if len(started) == 1:
            os.kill(started[0], signal.SIGKILL)
        return wait_until_ready(self)

    monkeypatch.setattr(WorkerProcess, "wait_until_ready", killed_at_first)
    await pool.run(job(tmp_path, "healthy"))
    assert len(started) == 2


async def test_a_job_whose_process_is_killed_is_repeated_once_and_no_other(pool: WorkerPool, tmp_path: Path) -> None:
    names = [f"linger {number}" for number in range(5)]
    running = [asyncio.ensure_future(pool.run(job(tmp_path, name))) for name in names]
    await begun(tmp_path, 2)
    victim, pid = attempts(tmp_path)[0]
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    warnings = dict(zip(names, [result.warnings for result in await asyncio.gather(*running)], strict=True))
    assert warnings.pop(victim) == ("repeated: the first worker process died (exit code -9)",)
    assert set(warnings.values()) == {()}
    assert len(attempts(tmp_path)) == 6


async def test_how_a_process_has_ended_is_waited_for(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forkserver knows it, and gets no processor time for a while."""
    monkeypatch.setattr("tasks.worker_process._END_SECONDS", 0.05)
    asked = asyncio.Event()
    exit_code, loop = WorkerProcess._exit_code, asyncio.get_running_loop()

    def noted(self: WorkerProcess) -> int | None:
        loop.call_soon_threadsafe(asked.set)
        return exit_code(self)

    monkeypatch.setattr(WorkerProcess, "_exit_code", noted)
    running = asyncio.ensure_future(pool.run(job(tmp_path, "linger")))
    (pid,) = await begun(tmp_path, 1)
    forkserver = psutil.Process(pid).ppid()
    os.kill(forkserver, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)
        await asyncio.sleep(0.2)
    finally:
        os.kill(forkserver, signal.SIGCONT)
    (tmp_path / "go").touch()
    assert (await running).warnings == ("repeated: the first worker process died (exit code -9)",)


async def test_a_job_whose_processes_are_killed_twice_is_suspect(pool: WorkerPool, tmp_path: Path) -> None:
    suspect = asyncio.ensure_future(pool.run(job(tmp_path, "linger suspect")))
    os.kill((await begun(tmp_path, 1))[0], signal.SIGKILL)
    pid = (await begun(tmp_path, 2))[1]
    waits = asyncio.ensure_future(pool.run(job(tmp_path, "healthy")))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(StageOutOfMemory, match=r"stopped twice on linger suspect.txt"):
        await suspect
    assert (await waits).warnings == ()
    assert len(attempts(tmp_path)) == 2


@pytest.mark.filterwarnings("ignore:resource_tracker")
async def test_without_its_forkserver_the_pool_repeats_what_was_under_way(pool: WorkerPool, tmp_path: Path) -> None:
    jobs = [asyncio.ensure_future(pool.run(job(tmp_path, f"linger {number}"))) for number in range(6)]
    await begun(tmp_path, 2)
    for pid in forkserver_and_tracker():
        os.kill(pid, signal.SIGKILL)
    # The first of the two is repeated alone; the other one has to wait for it.
    await begun(tmp_path, 3)
    (tmp_path / "go").touch()
    results = await asyncio.gather(*jobs)
    assert sum(1 for result in results if result.warnings) == 2
    assert len(attempts(tmp_path)) == 8


async def test_a_document_that_kills_all_processes_costs_only_itself(pool: WorkerPool, tmp_path: Path) -> None:
    neighbour = asyncio.ensure_future(pool.run(job(tmp_path, "linger next to it")))
    await begun(tmp_path, 1)
    killer = asyncio.ensure_future(pool.run(job(tmp_path, "killer")))
    await begun(tmp_path, 2)  # both are repeated, in whatever order, and never at the same time
    (tmp_path / "go").touch()
    with pytest.raises(StageCrashed, match=r"died twice in hostile on killer.txt \(no exit code\).*suspect"):
        await killer
    assert (await neighbour).warnings != ()
    assert len(attempts(tmp_path)) == 2


_OWNER = """
import asyncio, os, sys
from pathlib import Path
from tests.integration.test_pool import job
from tasks.pool import WorkerPool
from tasks.contract import Services
from blocks.settings import Settings

home = Path(sys.argv[1])
with (home / "imported").open("a") as file:
    print(os.getpid(), file=file)

async def main():
    settings = Settings(home=home, workers=3, stage_timeout_seconds=600)
    async with WorkerPool.open(settings, Services(home=home)) as pool:
        await asyncio.gather(*(pool.run(job(home, name)) for name in ("hang", "spin", "linger")))

asyncio.run(main())
"""


def test_workers_die_with_the_process_that_started_them_and_do_not_import_its_main_module(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(_OWNER)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{Path.cwd()}{os.pathsep}{tmp_path}",
        "WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE",
    }
    # By its name, as Prefect's engine is run.
    with subprocess.Popen(
        [sys.executable, "-m", script.stem, str(tmp_path)], env=environment, stderr=subprocess.DEVNULL
    ) as owner:
        family = psutil.Process(owner.pid)
        eventually(lambda: attempts(tmp_path), "one of them is at work")
        # The forkserver, its resource tracker, and three workers that are busy.
        eventually(lambda: len(family.children(recursive=True)) >= 5, "the workers are there")
        found = [identify(child.pid) for child in family.children(recursive=True)]
        workers = [process for process in found if process is not None]
        assert len(workers) >= 5
        os.kill(owner.pid, signal.SIGKILL)
    assert (tmp_path / "imported").read_text().split() == [str(owner.pid)]
    # One that is dead and that nobody has collected does not count: the first process of a container may not.
    eventually(lambda: not any(map(is_running, workers)), "all of them are dead")
