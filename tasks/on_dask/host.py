"""What a Dask worker does with a batch: it runs each job in a worker process of its own pool, within limits.

A document thus has a process that can be killed, as in a run without Dask, and does not end the Dask worker. The pool
has as many processes as the Dask worker has threads. It ends when it was not used for a minute, and with the worker.
"""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

from blocks.custody.sealing import Sealing
from blocks.errors import InvalidSettings, WaybillError
from blocks.settings import Settings, current_settings
from tasks.contract import Services
from tasks.job import Job, JobResult
from tasks.on_dask.messages import Limits, Returned, SentBatch, SentJob
from tasks.pool import WorkerPool
from tasks.registry import stage_named

# Runs follow each other; processes that wait for the next one cost memory.
_IDLE_SECONDS = 60.0
_LOOK_SECONDS = 5.0

_hosts: dict[Limits, _Host] = {}
_lock = threading.Lock()


def run_batch(batch: SentBatch) -> list[Returned]:
    """Run the jobs in worker processes, and return how each ended, in order. Called by a thread of a Dask worker."""
    host = _hold(batch.limits)
    try:
        return host.run(batch)
    finally:
        host.release()


def abandon(name: str) -> None:
    """End the jobs of a batch whose callers were cancelled, with the processes that would store something."""
    with _lock:
        for host in _hosts.values():
            host.abandon(name)


class _Host:
    """A pool and the event loop that it needs, for the threads of a Dask worker."""

    def __init__(self, limits: Limits) -> None:
        worker = import_module("distributed").get_worker()
        folder = Path(worker.local_directory)
        # The embedding model is built once in a home; without one, once in each Dask worker.
        home = current_settings().home if os.environ.get("WAYBILL_HOME") else folder / "waybill"
        settings = Settings(home=home, workers=worker.state.nthreads, **asdict(limits))
        # The recipient is that of each job; what is sealed is returned, and stored by the process of the run.
        services = Services(home=home, sealing=Sealing(recipient=None, root=None))
        self._folder = folder
        self._running: dict[str, Future[list[JobResult | WaybillError]]] = {}
        self._uses = 0
        self.used_at = time.monotonic()
        self._pool = WorkerPool(settings, services)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="waybill-host", daemon=True)
        self._thread.start()

    @property
    def is_idle(self) -> bool:
        return not self._uses and time.monotonic() - self.used_at > _IDLE_SECONDS

    def hold(self) -> None:
        self._uses += 1

    def release(self) -> None:
        with _lock:
            self._uses -= 1
            self.used_at = time.monotonic()

    def abandon(self, name: str) -> None:
        if (running := self._running.get(name)) is not None:
            running.cancel()

    def run(self, batch: SentBatch) -> list[Returned]:
        sent = batch.jobs
        with tempfile.TemporaryDirectory(prefix="waybill-", dir=self._folder) as scratch:
            folders = [Path(scratch) / str(number) for number in range(len(sent))]
            jobs = [_laid_out(one, folder) for one, folder in zip(sent, folders, strict=True)]
            running = asyncio.run_coroutine_threadsafe(self._outcomes(jobs), self._loop)
            self._running[batch.name] = running
            try:
                outcomes = running.result()
            finally:
                del self._running[batch.name]
            return [_returned(outcome, job) for outcome, job in zip(outcomes, jobs, strict=True)]

    async def _outcomes(self, jobs: Sequence[Job | WaybillError]) -> list[JobResult | WaybillError]:
        return await asyncio.gather(*map(self._outcome, jobs))

    async def _outcome(self, job: Job | WaybillError) -> JobResult | WaybillError:
        try:
            return job if isinstance(job, WaybillError) else await self._pool.run(job)
        except WaybillError as error:
            return error

    def close(self) -> None:
        self._pool.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _hold(limits: Limits) -> _Host:
    with _lock:
        if limits not in _hosts:
            if not _hosts:
                threading.Thread(target=_close_idle, name="waybill-idle-hosts", daemon=True).start()
            # Dask starts its workers as daemons, which `multiprocessing` lets have no children. Ours end with us.
            vars(multiprocessing.current_process())["_config"]["daemon"] = False
            _hosts[limits] = _Host(limits)
        host = _hosts[limits]
        host.hold()
        return host


def _close_idle() -> None:
    """Close pools that are not used, until there is none."""
    while True:
        time.sleep(_LOOK_SECONDS)
        with _lock:
            for limits in [limits for limits, host in _hosts.items() if host.is_idle]:
                _hosts.pop(limits).close()
            if not _hosts:
                return


@atexit.register
def _close_all() -> None:
    """End with the Dask worker, which `multiprocessing` would have wait for its children."""
    with _lock:
        while _hosts:
            _hosts.popitem()[1].close()


def _laid_out(sent: SentJob, folder: Path) -> Job | WaybillError:
    """Write the inputs of a job into a folder of its own, and return it with the paths of this machine."""
    job = sent.job
    try:
        stage = stage_named(job.stage_name)
    except WaybillError as error:
        return error
    if stage.version != sent.stage_version:
        return InvalidSettings(
            f"a Dask worker has version {stage.version} of {job.stage_name}, and the run has {sent.stage_version}; "
            "install the same version of Waybill on all machines"
        )
    folder.mkdir(mode=0o700)
    files: dict[str, Path] = {}
    for number, (name, content) in enumerate(sent.inputs.items()):
        files[name] = folder / f"input-{number}"
        files[name].write_bytes(content)
    keep = job.keep
    if keep is not None and sent.sent_at is not None:
        keep = replace(keep, now=(sent.sent_at, time.monotonic()), spool=folder / "sealed")
    return replace(job, files=files, target=folder / "output", keep=keep)


def _returned(outcome: JobResult | WaybillError, job: Job | WaybillError) -> Returned:
    if isinstance(outcome, WaybillError) or isinstance(job, WaybillError):
        return Returned(outcome=outcome)
    sealed = outcome.filled.spooled.read_bytes() if outcome.filled and outcome.filled.spooled else None
    return Returned(outcome=outcome, output=job.target.read_bytes(), sealed=sealed)
