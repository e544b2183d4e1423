"""What happens inside a worker process: stages on documents, one at a time or together, within limits.

It reads local files and writes two: the output for the next stage, and the same, sealed, in the storage. For that it
has the public key alone. It exits with the process that started it, so a killed run leaves none behind.
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
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pickle import PicklingError
from typing import Any

from pydantic import ValidationError

from blocks.custody.sealing import WHOLE_BYTES, fill_whole
from blocks.errors import InvalidOptions, StageFailed, StageOutOfMemory, StorageFull, WaybillError
from blocks.runtime.write_errors import is_disk_full, write_errors
from tasks.batch import SPOILS_PROCESS, Answer, claim
from tasks.contract import Services, StageInput, StageOutput
from tasks.job import Job, JobResult
from tasks.registry import stage_named

RunTogether = Callable[[Sequence[StageInput], Any], Sequence[StageOutput | WaybillError]]


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


def serve(connection: Connection, claims: Connection, services: Services, memory_bytes: int) -> None:
    """Run this process: say that it is ready, then run the jobs that it is sent until *connection* is closed.

    It sends None when it is ready and for each progress of a job, and an `Answer` at each job's end. It begins no job
    that it has not claimed, and none after one that may have spoiled the process.
    """
    start(services, memory_bytes)
    connection.send(None)
    jobs: Mapping[int, Job] = {}
    while True:
        claimed = claim(claims, 1)
        # Claims are written before their message: an unknown one belongs to the batch that is on its way.
        if not claimed or claimed[0] not in jobs:
            try:
                jobs = connection.recv().jobs
            except EOFError:
                return
        if claimed and not _run_claimed(claimed, jobs, claims, connection):
            jobs = {}
            connection.poll(None)  # until it is closed: no further claim is taken


def _run_claimed(claimed: list[int], jobs: Mapping[int, Job], claims: Connection, connection: Connection) -> bool:
    """Run the *claimed* job, or all that are left with it if its stage takes them together; answer each.

    Return whether this process may run another one.
    """

    def note_progress() -> None:
        connection.send(None)

    def answer(number: int, outcome: JobResult | WaybillError) -> None:
        connection.send_bytes(_pickled(Answer(number, outcome), jobs[number]))

    run_together = stage_named(jobs[claimed[0]].stage_name).run_together if len(jobs) > 1 else None
    if run_together is not None:
        claimed += claim(claims, len(jobs))
        outcomes = _outcomes_together(run_together, [jobs[number] for number in claimed], note_progress)
        if outcomes is not None:
            answers = sorted(zip(claimed, outcomes, strict=True), key=lambda one: isinstance(one[1], SPOILS_PROCESS))
            for number, outcome in answers:
                answer(number, outcome)
            return not isinstance(answers[-1][1], SPOILS_PROCESS)
    for number in claimed:
        outcome = _outcome(jobs[number], note_progress)
        answer(number, outcome)
        if isinstance(outcome, SPOILS_PROCESS):
            return False
    return True


def _pickled(answer: Answer, job: Job) -> memoryview:
    try:
        return ForkingPickler.dumps(answer)
    except (PicklingError, TypeError, AttributeError) as exc:
        error = StageFailed(
            f"{job.stage_name} on {job.document.name} reports what cannot be sent ({type(exc).__name__})"
        )
        return ForkingPickler.dumps(Answer(answer.number, error))


def _outcome(job: Job, note_progress: Callable[[], None]) -> JobResult | WaybillError:
    try:
        return execute(job, note_progress)
    except WaybillError as error:
        return error


def _outcomes_together(
    run_together: RunTogether, jobs: Sequence[Job], note_progress: Callable[[], None]
) -> list[JobResult | WaybillError] | None:
    """Run *jobs* of one stage in one call, and write their outputs. None when the call fails: then each runs alone."""
    stage = stage_named(jobs[0].stage_name)
    started = time.perf_counter()
    try:
        options = stage.options.model_validate(jobs[0].options)
        outputs = list(run_together([_stage_input(job, note_progress) for job in jobs], options))
    except (Exception, SystemExit, KeyboardInterrupt):  # noqa: BLE001 (`execute` meets it again, and reports it)
        return None
    if len(outputs) != len(jobs):
        return None
    seconds = (time.perf_counter() - started) / len(jobs)
    return [_written_or_error(job, output, seconds) for job, output in zip(jobs, outputs, strict=True)]


def _written_or_error(job: Job, output: StageOutput | WaybillError, seconds: float) -> JobResult | WaybillError:
    if isinstance(output, WaybillError):
        return output
    try:
        with _as_our_errors(job):
            return _written(job, output, seconds)
    except WaybillError as error:
        return error


def _stage_input(job: Job, note_progress: Callable[[], None]) -> StageInput:
    if _process.services is None:
        raise StageFailed("the worker process was not started with tasks.worker.start")
    return StageInput(
        document=job.document,
        files=job.files,
        services=_process.services,
        stage_key=job.stage_key,
        note_progress=note_progress,
        requests_at_once=job.requests_at_once,
    )


def execute(job: Job, note_progress: Callable[[], None]) -> JobResult:
    """Run the job and write its output. Raises every error of the stage and its libraries as one of `blocks.errors`."""
    started = time.perf_counter()
    stage = stage_named(job.stage_name)
    with _as_our_errors(job):
        output = stage.run(_stage_input(job, note_progress), stage.options.model_validate(job.options))
        return _written(job, output, time.perf_counter() - started)


def _written(job: Job, output: StageOutput, seconds: float) -> JobResult:
    """Write the output of a job for the next stage, store it if it is small, and return what is reported of it."""
    with write_errors(job.target):
        job.target.write_bytes(output.content)
    result = JobResult(
        seconds=seconds,
        peak_memory_bytes=_peak_memory_bytes(),
        metadata=output.metadata,
        warnings=(*output.warnings, *job.warnings),
    )
    sealing = _process.services.sealing if _process.services else None
    if job.keep is None or sealing is None or len(output.content) > WHOLE_BYTES:
        return result
    report = result.stored_report(job.keep.draft.report)
    filled = fill_whole(sealing, job.keep, output.content, metadata=result.stored_metadata, report=report)
    return replace(result, filled=filled)


@contextmanager
def _as_our_errors(job: Job) -> Generator[None]:
    """Raise whatever the block raises as one of `blocks.errors`."""
    try:
        yield
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
