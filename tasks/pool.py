"""Worker processes that can be killed: a hostile document fails alone.

Pebble's pool with a forkserver (never a fork of the flow's own threads). A job that exceeds its time is killed with its
process; a process that dies ends only its own job; both are replaced.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import AsyncGenerator
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as JobTimeoutError
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

from pebble import ProcessExpired, ProcessPool

from blocks.errors import StageCrashed, StageOutOfMemory, StageTimedOut
from blocks.settings import Settings
from tasks.contract import Services
from tasks.job import Job, JobResult
from tasks.worker import execute, start

if TYPE_CHECKING:
    from concurrent.futures import Future

# A worker that has not stopped this long after the pool was asked to is killed.
STOP_SECONDS = 5.0


class WorkerPool:
    """A `StageRunner` of limited processes. Open it with ``async with WorkerPool.open(...) as pool``."""

    def __init__(self, pool: ProcessPool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, services: Services) -> AsyncGenerator[Self]:
        """Keep worker processes for the duration of the block. They start with the first jobs."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tasks.worker"])
        pool = ProcessPool(
            max_workers=settings.workers,
            initializer=start,
            initargs=(services, settings.stage_memory_mib * 1024 * 1024),
            context=context,
        )
        try:
            yield cls(pool, settings)
            pool.close()
        finally:
            pool.stop()
            await asyncio.to_thread(pool.join, STOP_SECONDS)

    async def run(self, job: Job) -> JobResult:
        """Run *job* in a worker. Raises the stage's own error, or `StageTimedOut`, `StageOutOfMemory`, `StageCrashed`.

        The time limit counts from when a worker takes the job up, not from when it is queued.
        """
        limit_seconds = self._settings.stage_timeout_seconds
        name = job.document.name
        try:
            future: Future[JobResult] = self._pool.schedule(execute, args=(job,), timeout=limit_seconds)
            return await asyncio.wrap_future(future)
        except JobTimeoutError as exc:
            raise StageTimedOut(
                f"{job.stage_name} took longer than {limit_seconds:g} s on {name} and was stopped; "
                "raise WAYBILL_STAGE_TIMEOUT_SECONDS if the document is sound"
            ) from exc
        except ProcessExpired as exc:
            raise self._died(job, exc.exitcode) from exc
        except (BrokenExecutor, RuntimeError) as exc:
            # Not caused by the document: no worker starts. A program without an ``if __name__ == "__main__"`` around
            # its run does this, because each worker imports the program's main module.
            raise StageCrashed(f"no worker process can be started for {job.stage_name} ({exc})") from exc

    def _died(self, job: Job, exit_code: int | None) -> StageCrashed | StageOutOfMemory:
        name, limit_mib = job.document.name, self._settings.stage_memory_mib
        # Native code that is refused memory aborts; the kernel's own out-of-memory killer sends SIGKILL.
        if exit_code in {-signal.SIGABRT, -signal.SIGKILL}:
            return StageOutOfMemory(
                f"{job.stage_name} was stopped on {name}, most likely at its memory limit of {limit_mib} MiB; "
                "raise WAYBILL_STAGE_MEMORY_MIB if the document is sound"
            )
        return StageCrashed(f"the worker process died (exit code {exit_code}) in {job.stage_name} on {name}")
