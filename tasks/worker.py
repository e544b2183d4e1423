"""What happens inside a worker process: one stage on one document, within limits.

It reads and writes local files only, and exits with the process that started it, so a killed run leaves none behind.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError

from pydantic import ValidationError

from blocks.errors import InvalidOptions, StageFailed, StageOutOfMemory, StorageFull, WaybillError
from blocks.runtime.write_errors import is_disk_full, write_errors
from tasks.contract import Services, StageInput
from tasks.job import Job, JobResult
from tasks.registry import stage_named


@dataclass
class _Process:
    services: Services | None = None


_process = _Process()


def start(services: Services, memory_bytes: int) -> None:
    """Prepare this process for jobs: limits, signals, and a watch on the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, which stops its workers
    _return_large_blocks()
    _limit_memory(memory_bytes)
    _die_with_forkserver()
    threading.Thread(target=_exit_with_parent, daemon=True, name="parent-watch").start()
    _process.services = services


def serve(connection: Connection, services: Services, memory_bytes: int) -> None:
    """Run this process: say that it is ready, then run one job after the other until *connection* is closed.

    It sends None when it is ready and for each progress of a job, and the outcome at the job's end.
    """
    start(services, memory_bytes)
    connection.send(None)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send_bytes(_outcome(job, lambda: connection.send(None)))


def _outcome(job: Job, note_progress: Callable[[], None]) -> memoryview:
    """Return what a job reports or raises, pickled."""
    try:
        outcome: JobResult | WaybillError = execute(job, note_progress)
    except WaybillError as error:
        outcome = error
    try:
        return ForkingPickler.dumps(outcome)
    except (PicklingError, TypeError, AttributeError) as exc:
        return ForkingPickler.dumps(
            StageFailed(f"{job.stage_name} on {job.document.name} reports what cannot be sent ({type(exc).__name__})")
        )


def execute(job: Job, note_progress: Callable[[], None]) -> JobResult:
    """Run the job and write its output. Raises every error of the stage and its libraries as one of `blocks.errors`."""
    if _process.services is None:
        raise StageFailed("the worker process was not started with tasks.worker.start")
    stage = stage_named(job.stage_name)
    started = time.perf_counter()
    try:
        options = stage.options.model_validate(job.options)
        given = StageInput(
            document=job.document,
            files=job.files,
            services=_process.services,
            stage_key=job.stage_key,
            note_progress=note_progress,
        )
        output = stage.run(given, options)
        with write_errors(job.target):
            job.target.write_bytes(output.content)
    except WaybillError:
        raise
    except ValidationError as exc:
        raise InvalidOptions(f"the options of {job.stage_name} are not valid: {exc.error_count()} errors") from exc
    except MemoryError as exc:
        raise StageOutOfMemory(
            f"{job.document.name} needs more memory than a worker may use; raise WAYBILL_STAGE_MEMORY_MIB"
        ) from exc
    except (Exception, SystemExit, KeyboardInterrupt) as exc:
        if is_disk_full(exc):  # in a temporary file of a library, say
            raise StorageFull(
                f"{job.stage_name} has no room for a file that it needs for {job.document.name}; free some space under "
                f"{job.target.parent} and {tempfile.gettempdir()} and start again"
            ) from exc
        # The message of a foreign exception may quote the document, so only its type is reported.
        raise StageFailed(
            f"{job.stage_name} failed on {job.document.name} with an unexpected {type(exc).__name__}"
        ) from exc
    return JobResult(
        seconds=time.perf_counter() - started,
        peak_memory_bytes=_peak_memory_bytes(),
        metadata=output.metadata,
        warnings=output.warnings,
    )


def _return_large_blocks() -> None:
    """Make the C library return large freed blocks to the system immediately, so that a large workbook fits the limit.

    glibc raises its threshold for such blocks with every block that is freed; setting it pins it. See mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_mmap_threshold, m_arena_max = -3, -8
        mallopt(m_mmap_threshold, 256 * 1024)
        mallopt(m_arena_max, 2)


def _limit_memory(limit_bytes: int) -> None:
    """Bound private writable memory. Linux only: elsewhere the kernel does not enforce RLIMIT_DATA on mappings."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        allowed = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, hard))


def _die_with_forkserver() -> None:
    """Ask the kernel to kill this process when the forkserver exits, which exits with the flow's process.

    The watching thread below needs the interpreter lock, which native code may hold for ever. Linux only; see prctl(2).
    """
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)  # nothing to clean up: outputs count only once the parent has stored them


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
