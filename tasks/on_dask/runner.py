"""A `StageRunner` on a Dask cluster: batches of jobs go to its workers, and their outputs come back.

Stages that need what only the run has (the catalogue, the language model) run in the pool of the run, and so does a
document that is too large to be sent through Dask's scheduler. A batch whose Dask worker is lost is repeated by Dask on
another one. One that loses several is taken apart, and each of its jobs repeated while nothing else of the run is on
the cluster: what still kills Dask workers is the document.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from blocks.errors import InvalidSettings, StageCrashed, StageFailed, WaybillError
from blocks.redaction import without_password
from blocks.runtime.write_errors import write_errors
from blocks.settings import Settings
from tasks.batch import MAX_JOBS
from tasks.contract import Services, Stage
from tasks.job import Job, JobResult, RunnerUnavailable
from tasks.on_dask.host import abandon, run_batch
from tasks.on_dask.messages import Limits, Returned, SentBatch, SentJob
from tasks.pool import WorkerPool
from tasks.registry import stage_named

# Inputs pass through Dask's scheduler, which keeps them in its memory until the batch is done.
MOST_INPUT_BYTES = 8 * 2**20
# One that works and one that waits at each thread, so that none waits for the run.
_BATCHES_PER_THREAD = 2
# How old the number of threads may be: workers come and go.
_FRESH_SECONDS = 5.0
_CONNECT_SECONDS = 20.0
# Otherwise what was begun goes on to its end, or to its limit.
_ABANDON_SECONDS = 10.0


@dataclass(eq=False)
class _Queued:
    job: Job
    size: int
    stage: Stage[Any]
    future: asyncio.Future[JobResult]


class DaskRunner:
    """Open it with ``async with DaskRunner.open(...) as runner``. Used by one event loop."""

    def __init__(self, address: str, settings: Settings, services: Services, at_home: WorkerPool) -> None:
        self._address, self._services, self._at_home = address, services, at_home
        self._limits = Limits(
            stage_timeout_seconds=settings.stage_timeout_seconds,
            stage_silence_seconds=settings.stage_silence_seconds,
            stage_memory_mib=settings.stage_memory_mib,
        )
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._waiting: dict[str, deque[_Queued]] = {}
        self._alone: deque[_Queued] = deque()
        self._batches: dict[asyncio.Task[None], Sequence[_Queued]] = {}
        self._runs_alone = False
        self._threads, self._counted_at = 1, float("-inf")

    @classmethod
    @asynccontextmanager
    async def open(cls, address: str, settings: Settings, services: Services) -> AsyncGenerator[Self]:
        """Use the cluster whose scheduler has *address* for the length of the block. Connects with the first job.

        Raises `InvalidSettings` when the package is not installed.
        """
        _dask()
        async with WorkerPool.open(settings, services) as at_home:
            runner = cls(address, settings, services, at_home)
            try:
                yield runner
            finally:
                for task in runner._batches:
                    task.cancel()
                await asyncio.gather(*runner._batches, return_exceptions=True)
                await runner._disconnect()

    async def run(self, job: Job) -> JobResult:
        """Run *job* on the cluster, or at home. Raises what `WorkerPool.run` does, `RunnerUnavailable` without Dask."""
        stage = stage_named(job.stage_name)
        options = stage.options.model_validate(job.options)
        if stage.needs_home is not None and stage.needs_home(options, self._services):
            return await self._at_home.run(job)
        size = _size(job)
        if size is None or size > MOST_INPUT_BYTES:
            return await self._at_home.run(job)
        queued = _Queued(job=job, size=size, stage=stage, future=asyncio.get_running_loop().create_future())
        self._waiting.setdefault(stage.name, deque()).append(queued)
        # Jobs of one shard are asked for one after the other, in the same turn of the loop.
        asyncio.get_running_loop().call_soon(self._send)
        try:
            return await queued.future
        except asyncio.CancelledError:
            self._abandon(queued)
            raise

    def _abandon(self, queued: _Queued) -> None:
        """Forget a job whose caller was cancelled; a batch without callers is cancelled at the cluster."""
        queued.future.cancel()
        for jobs in (*self._waiting.values(), self._alone):
            with suppress(ValueError):
                jobs.remove(queued)
        for task, jobs in self._batches.items():
            if queued in jobs and all(one.future.done() for one in jobs):
                task.cancel()

    def _send(self) -> None:
        """Start batches for what waits, as long as the cluster has room."""
        if self._runs_alone:
            return
        if self._alone:
            if not self._batches:
                self._runs_alone = True
                self._start([self._alone.popleft()], is_alone=True)
            return
        while len(self._batches) < self._threads * _BATCHES_PER_THREAD and (jobs := self._next()):
            self._start(jobs)

    def _next(self) -> list[_Queued]:
        """Return a fair share of the jobs of one stage, with equal options, within the bound of bytes."""
        jobs = next((jobs for jobs in self._waiting.values() if jobs), None)
        if jobs is None:
            return []
        share = min(MAX_JOBS, -(-len(jobs) // self._threads))
        taken = [jobs.popleft()]
        size = taken[0].size
        while jobs and len(taken) < share and jobs[0].job.options == taken[0].job.options:
            size += jobs[0].size
            if size > MOST_INPUT_BYTES:
                break
            taken.append(jobs.popleft())
        return taken

    def _start(self, jobs: Sequence[_Queued], *, is_alone: bool = False) -> None:
        task = asyncio.get_running_loop().create_task(self._run(jobs, is_alone=is_alone))
        self._batches[task] = jobs
        task.add_done_callback(self._after)

    def _after(self, task: asyncio.Task[None]) -> None:
        del self._batches[task]
        self._send()

    async def _run(self, jobs: Sequence[_Queued], *, is_alone: bool) -> None:
        """Run one batch, and give each of its callers a result or an error."""
        try:
            returned = await self._on_cluster(jobs)
            outcomes = await asyncio.to_thread(
                lambda: [_taken(one, queued.job) for one, queued in zip(returned, jobs, strict=True)]
            )
        except _Killed:
            if is_alone:
                self._settle(jobs, [_suspect(queued.job) for queued in jobs])
            else:
                self._alone.extend(queued for queued in jobs if not queued.future.done())
        except WaybillError as error:
            self._settle(jobs, [error] * len(jobs))
        except Exception as exc:  # noqa: BLE001 (no caller may wait for ever)
            error = StageFailed(f"{jobs[0].job.stage_name} cannot be run on Dask ({type(exc).__name__})")
            error.__cause__ = exc
            self._settle(jobs, [error] * len(jobs))
        else:
            self._settle(jobs, outcomes)
        finally:
            if is_alone:
                self._runs_alone = False

    def _settle(self, jobs: Sequence[_Queued], outcomes: Sequence[JobResult | WaybillError]) -> None:
        for queued, outcome in zip(jobs, outcomes, strict=True):
            if queued.future.done():  # its caller was cancelled
                continue
            if isinstance(outcome, WaybillError):
                queued.future.set_exception(outcome)
            else:
                queued.future.set_result(outcome)

    async def _on_cluster(self, jobs: Sequence[_Queued]) -> list[Returned]:
        client = await self._connected()
        name = f"waybill-{uuid4()}"
        sent = await asyncio.to_thread(lambda: SentBatch(name=name, jobs=tuple(map(_sent, jobs)), limits=self._limits))
        future = client.submit(run_batch, sent, key=name, pure=False)
        try:
            return await future
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # Dask does not end what a thread of a worker has begun.
                with suppress(Exception):
                    async with asyncio.timeout(_ABANDON_SECONDS):
                        await future.cancel(force=True)
                        await client.run(abandon, name)
                raise
            # Dask's own: it has lost the scheduler, and with it the batch.
            raise await self._lost(client, "the scheduler has forgotten a batch") from None
        except _dask().KilledWorker as exc:
            raise _Killed from exc
        except ModuleNotFoundError as exc:
            raise InvalidSettings(
                f"Dask's workers cannot import {exc.name}; install waybill[dask] of the same version on each"
            ) from exc
        except (OSError, _dask().client.FutureCancelledError) as exc:  # CommClosedError too
            raise await self._lost(client, type(exc).__name__) from exc

    async def _connected(self) -> Any:
        async with self._connecting:
            now = time.monotonic()
            if self._client is None or self._client.status != "running":
                await self._disconnect()
                self._client = await _client_of(self._address)
                self._counted_at = float("-inf")
            if now - self._counted_at > _FRESH_SECONDS:
                with suppress(OSError):
                    self._threads = max(1, await _threads(self._client))
                self._counted_at = now
                asyncio.get_running_loop().call_soon(self._send)
            return self._client

    async def _lost(self, client: Any, why: str) -> RunnerUnavailable:
        if client is self._client:
            await self._disconnect()
        return RunnerUnavailable(f"the Dask scheduler at {without_password(self._address)} was lost ({why})")

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                await client.close()


async def threads_of(address: str, *, within_seconds: float | None = None) -> int:
    """Return how many threads the workers of the cluster have together. Waits 20 seconds, unless another time is given.

    Raises `RunnerUnavailable` when its scheduler does not answer, `InvalidSettings` when the package is not installed.
    """
    client = await _client_of(address, within_seconds)
    try:
        return await _threads(client)
    except OSError as exc:
        shown = without_password(address)
        raise RunnerUnavailable(f"the Dask scheduler at {shown} was lost ({type(exc).__name__})") from exc
    finally:
        with suppress(Exception):
            await client.close()


async def _client_of(address: str, within_seconds: float | None = None) -> Any:
    shown = without_password(address)
    timeout = within_seconds or _CONNECT_SECONDS
    client = _dask().Client(address, asynchronous=True, timeout=timeout, set_as_default=False)
    try:
        async with _closed_unless_connected(client):
            return await client
    except ValueError as exc:
        raise InvalidSettings(f"WAYBILL_DASK is no address of a scheduler: {shown}; write tcp://HOST:8786") from exc
    except (OSError, TimeoutError) as exc:
        raise RunnerUnavailable(f"the Dask scheduler at {shown} does not answer ({type(exc).__name__})") from exc


@asynccontextmanager
async def _closed_unless_connected(client: Any) -> AsyncGenerator[None]:
    """Close a client that did not connect. Dask does so for some errors (``findings/dask_client_left_open.sh``)."""
    try:
        yield
    except BaseException:
        with suppress(Exception):
            await client.close()
        raise


async def _threads(client: Any) -> int:
    return sum((await client.nthreads()).values())


class _Killed(Exception):
    """Several Dask workers were lost with the batch."""


def _dask() -> Any:
    try:
        return import_module("distributed")
    except ModuleNotFoundError as exc:
        raise InvalidSettings("WAYBILL_DASK needs a package that is missing: pip install 'waybill[dask]'") from exc


def _suspect(job: Job) -> StageCrashed:
    return StageCrashed(
        f"Dask workers were lost again and again with {job.stage_name} on {job.document.name}, at last with nothing "
        "else of this run under way: the document is suspect"
    )


def _size(job: Job) -> int | None:
    """Return how many bytes the inputs have; None for one that is gone, which fails in the stage, with its error."""
    try:
        return sum(path.stat().st_size for path in job.files.values())
    except OSError:
        return None


def _sent(queued: _Queued) -> SentJob:
    inputs = {name: path.read_bytes() for name, path in queued.job.files.items()}
    return SentJob.of(queued.job, inputs, queued.stage.version)


def _taken(returned: Returned, job: Job) -> JobResult | WaybillError:
    """Write what a Dask worker has returned where the run wants it."""
    outcome = returned.outcome
    if isinstance(outcome, WaybillError):
        return outcome
    try:
        _write(job.target, returned.output)
        if outcome.filled is None or returned.sealed is None or job.keep is None:
            return replace(outcome, filled=None)
        _write(job.keep.spool, returned.sealed)
    except WaybillError as error:
        return error
    return replace(outcome, filled=replace(outcome.filled, spooled=job.keep.spool))


def _write(path: Path, content: bytes) -> None:
    with write_errors(path):
        path.write_bytes(content)
