"""Prefect's own process worker, kept running for the work queues of this machine's labels.

Owns its environment, which holds no secret but that of the forwarder, and its end: flow runs are asked to end first, so
that each reports it, and nothing of a worker outlives it. Prefect's worker by itself waits at SIGTERM for as long as
its flow runs take, and leaves them behind when it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from blocks.runs.remote_stages import REMOTE_POOL
from blocks.runtime.background_tasks import first_done
from blocks.settings import inherited_environment
from waybill.worker.prefect_forwarder import PrefectForwarder
from waybill.worker.worker_processes import START_VARIABLE, end_flow_runs, flow_runs_of, kill_all

log = logging.getLogger("waybill.worker")

# Where programs, libraries, languages and temporary files are. Everything else that the caller has set, its secrets
# among it, is not for flow runs.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
_PREFECT = {
    # Nothing is sent to Prefect's makers.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    # The gateway answers neither; it speaks with Prefect in its own version.
    "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
    "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
    # A gateway that fails is asked again a few times, as one that is busy is.
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",
    # From trigger to flow body in 3 s; Prefect's default looks every 10 s.
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    # As for flow runs at home; the same automation waits for them.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # Half of what the gateway takes as one body.
    "PREFECT_LOGGING_TO_API_BATCH_SIZE": "500000",
    "PREFECT_LOGGING_TO_API_MAX_LOG_SIZE": "100000",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
    # Results would be pickled into files here; the door takes none of them.
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
}
# After its flow runs have ended, Prefect's worker has its last states and log lines to send.
_FAREWELL_SECONDS = 10.0
# From a run that Prefect's worker was given to its process it takes a second or two.
_FINISHING_POLL_SECONDS = 5.0
# A worker that keeps dying is started again after pauses up to this; one that ran this long has recovered.
_LONGEST_PAUSE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """What to run. *home* is the worker's own folder, made private; *output* takes what Prefect prints."""

    name: str
    labels: tuple[str, ...]
    home: Path
    most_runs: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    output: IO[bytes] | None = None


async def keep_prefect_worker(
    options: WorkerOptions,
    forwarder: PrefectForwarder,
    ending: asyncio.Event,
    *,
    finishing: asyncio.Event | None = None,
) -> None:
    """Keep a worker running until *ending* is set; then end its flow runs and the worker. Labels must not be empty.

    When *finishing* is set it takes no further run, and ends once those under way have ended. Ends by these two alone:
    a task that is cancelled again and again has no time to end what it has started.
    """
    finishing = finishing or asyncio.Event()
    if not options.labels:
        raise ValueError("without a label, Prefect's worker would take the runs of all work queues")
    (options.home / "prefect").mkdir(mode=0o700, parents=True, exist_ok=True)
    pause_seconds = _FIRST_PAUSE_SECONDS
    while not ending.is_set() and not finishing.is_set():
        started_at = time.monotonic()
        worker = await _start(options, forwarder)
        try:
            await first_done(worker.process.wait(), ending.wait(), finishing.wait())
            if ending.is_set() or finishing.is_set():
                forwarder.give_no_more_runs()
            if finishing.is_set():
                await _wait_for_flow_runs(worker, ending)
        finally:
            await _end(worker)
        if not ending.is_set() and not finishing.is_set():
            if time.monotonic() - started_at > _LONGEST_PAUSE_SECONDS:
                pause_seconds = _FIRST_PAUSE_SECONDS
            log.warning("Prefect's worker has ended; starting it again in %.0f s", pause_seconds)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)


@contextmanager
def ending_on_signals() -> Generator[asyncio.Event]:
    """Yield an event that SIGTERM, SIGINT and SIGHUP set, inside the block. For the main thread's loop."""
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, ending.set)
    try:
        yield ending
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def worker_environment(options: WorkerOptions, forwarder: PrefectForwarder, start: str) -> dict[str, str]:
    """Return the whole environment of Prefect's worker, which its flow runs inherit."""
    caller = inherited_environment()
    prefect = options.home / "prefect"
    return {
        **{name: caller[name] for name in _KEPT if name in caller},
        **_PREFECT,
        "PREFECT_HOME": str(prefect),
        "PREFECT_PROFILES_PATH": str(prefect / "profiles.toml"),
        "PREFECT_API_URL": forwarder.api_url,
        "PREFECT_API_AUTH_STRING": forwarder.credential,
        **options.environment,
        START_VARIABLE: start,
    }


@dataclass(frozen=True, kw_only=True)
class _Worker:
    process: asyncio.subprocess.Process
    start: str


async def _start(options: WorkerOptions, forwarder: PrefectForwarder) -> _Worker:
    start = secrets.token_hex(8)
    limit = [] if options.most_runs is None else ["--limit", str(options.most_runs)]
    queues = [argument for label in options.labels for argument in ("--work-queue", label)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "waybill.worker.prefect_program",
        "worker", "start", "--type", "process", "--pool", REMOTE_POOL, "--name", options.name, *queues, *limit,
        # The pool is the home's, and no package is installed by what the server says.
        "--no-create-pool-if-not-found", "--install-policy", "never",
        # Never written to: the worker sees it close when this process is gone.
        stdin=asyncio.subprocess.PIPE,
        stdout=options.output,
        stderr=options.output,
        env=worker_environment(options, forwarder, start),
        # Prefect reads prefect.toml, .env and pyproject.toml of the directory it is started in.
        cwd=options.home / "prefect",
        start_new_session=True,
        umask=0o077,
    )  # fmt: skip
    return _Worker(process=process, start=start)


async def _wait_for_flow_runs(worker: _Worker, ending: asyncio.Event) -> None:
    """Wait until the flow runs have ended; one that was given out just before is a process after this pause."""
    while not ending.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), _FINISHING_POLL_SECONDS)
        if not await asyncio.to_thread(flow_runs_of, worker.start, worker.process.pid):
            return


async def _end(worker: _Worker) -> None:
    """End the flow runs, then the worker, then whatever is left; also when the worker has ended by itself."""
    await asyncio.to_thread(end_flow_runs, worker.start, worker.process.pid)
    if worker.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            worker.process.terminate()
        try:
            await asyncio.wait_for(worker.process.wait(), _FAREWELL_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
            await worker.process.wait()
    await asyncio.to_thread(kill_all, worker.start, except_pid=os.getpid())
