"""Servers that the tests of a run share: each is started by the first test that wants it, and stopped when the run is
over. All processes of a run share one Postgres and one S3 server; each has a Prefect server of its own.

A keeper process holds each server. It writes the server's address to a file in the run's folder, and stops the server
as soon as the run's lock is free: the kernel releases the lock when the process that holds it ends, however it ends.
Run as a program, this module is such a keeper.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.postgres_server import Postgres, running_postgres
from tests.s3.environment import swift_environment
from tests.s3.server import S3Server, running_s3_server
from tests.stack_driver import PATIENCE_SECONDS, PREFECT_AUTH, plain_environment, prefect_login

_ROOT = Path(__file__).parents[1]
# The slowest, Prefect's server, takes seven on an idle machine; it may have to wait for Postgres first.
_START_TIMEOUT_SECONDS = 2 * PATIENCE_SECONDS
_STOP_TIMEOUT_SECONDS = 300
_RUN_LOCK = "run.lock"
# For modules that look at everything on a Prefect server, or change what holds for all of it. They share one server,
# one module at a time, and are therefore all given to one process.
PREFECT_ALONE = pytest.mark.xdist_group("prefect-alone")
_ALONE = "prefect-alone"
# What Prefect's server does by the clock, every five seconds, and what only modules of `PREFECT_ALONE` look at. It is
# half of what an idle server takes, and the servers of the other modules are idle nearly all of the time.
_BY_THE_CLOCK = ("FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "SCHEDULER", "TRIGGERS")


@contextmanager
def open_run() -> Generator[Path]:
    """The folder of a run. At the end, the servers that were started for it are stopped."""
    folder = Path(tempfile.mkdtemp(prefix="waybill-tests-"))
    with (folder / _RUN_LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    _wait_until_stopped(folder)
    shutil.rmtree(folder)


def shared_postgres(run: Path) -> Postgres:
    """The run's Postgres."""
    state = _shared(run, "postgres")
    return Postgres(directory=Path(state["directory"]), pid=state["pid"])


def shared_s3(run: Path) -> S3Server:
    """The run's S3 server."""
    swift_environment()  # the time to start does not include that to install
    return S3Server(address=_shared(run, "s3")["address"])


def shared_prefect(run: Path) -> str:
    """The address of the API of this process's Prefect server; `prefect_variables` and `prefect_login` open it.

    Each process has one because tests make runs by hand, which belong to no home: the reconcilers of tests that run
    at the same time would record each other's events.
    """
    return str(_shared(run, f"prefect-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}")["address"])


@contextmanager
def alone_with_prefect(run: Path) -> Generator[str]:
    """Wait for the Prefect server of the modules `PREFECT_ALONE` and keep it for this block; the address of its API.

    It holds no deployment and no run of an earlier module.
    """
    with _alone(run, "module-with-prefect"):
        address = str(_shared(run, _ALONE)["address"])
        with httpx.Client(base_url=address, auth=prefect_login(), timeout=PATIENCE_SECONDS) as api:
            for kind in ("deployments", "flow_runs"):
                while found := api.post(f"/{kind}/filter", json={"limit": 200}).raise_for_status().json():
                    for record in found:
                        # A deployment takes its scheduled runs with it, and the server makes and drops such by itself.
                        if (answer := api.delete(f"/{kind}/{record['id']}")).status_code != HTTPStatus.NOT_FOUND:
                            answer.raise_for_status()
        yield address


@contextmanager
def _alone(run: Path, name: str) -> Generator[None]:
    """Wait until no other process of the run is inside of the block of the same name."""
    with (run / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _shared(run: Path, name: str) -> dict[str, Any]:
    with _alone(run, name):
        state = run / f"{name}.json"
        if not state.exists():
            _start_keeper(run, name, state)
        return json.loads(state.read_text())


def _start_keeper(run: Path, name: str, state: Path) -> None:
    log = run / f"{name}.log"
    # A session of its own: Ctrl-C in the terminal is for the tests, which still need their servers to tidy up.
    # Both halves: the credential of its Prefect server is then the one that all tests know.
    prefect = {"PREFECT_SERVER_API_AUTH_STRING": PREFECT_AUTH, "PREFECT_API_AUTH_STRING": PREFECT_AUTH}
    if name != _ALONE:
        prefect |= {f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false" for service in _BY_THE_CLOCK}
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "tests.shared_servers", str(run), name],
        {**plain_environment(), **prefect, "PYTHONPATH": str(_ROOT)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not state.exists():
        ended = os.waitpid(pid, os.WNOHANG)[0]
        if ended or time.monotonic() > deadline:
            raise RuntimeError(f"the {name} server for tests does not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.02)


def _wait_until_stopped(run: Path) -> None:
    deadline = time.monotonic() + _STOP_TIMEOUT_SECONDS
    while left := [state.stem for state in run.glob("*.json")]:
        if time.monotonic() > deadline:
            said = "\n".join((run / f"{name}.log").read_text()[-3000:] for name in left)
            raise RuntimeError(f"servers for tests did not stop, see {run}: {', '.join(left)}\n{said}")
        time.sleep(0.02)


@contextmanager
def _postgres(_run: Path) -> Generator[dict[str, Any]]:
    with running_postgres() as server:
        yield {"directory": str(server.directory), "pid": server.pid}


@contextmanager
def _s3(_run: Path) -> Generator[dict[str, Any]]:
    with running_s3_server() as server:
        yield {"address": server.address}


@contextmanager
def _prefect(run: Path) -> Generator[dict[str, Any]]:
    from tests.prefect_server import running_prefect

    with shared_postgres(run).database() as database_url, running_prefect(database_url) as address:
        yield {"address": address}


_SERVERS: dict[str, Callable[[Path], Any]] = {
    "postgres": _postgres,
    "s3": _s3,
    "prefect": _prefect,
}


def _keep(run: Path, name: str) -> None:
    """Run the server until the run is over. Its file is removed last, when nothing of it is left."""
    state = run / f"{name}.json"
    with ExitStack() as stack:
        stack.callback(state.unlink, missing_ok=True)
        found = stack.enter_context(_SERVERS[name.partition("-")[0]](run))
        lock = stack.enter_context((run / _RUN_LOCK).open("w"))
        draft = state.with_suffix(".new")
        draft.write_text(json.dumps(found))
        draft.replace(state)
        fcntl.flock(lock, fcntl.LOCK_SH)
        # Prefect's servers have their databases on it.
        while name == "postgres" and any(run.glob("prefect*.json")):
            time.sleep(0.02)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), sys.argv[2])
