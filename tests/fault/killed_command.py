"""A ``waybill`` command in a process of its own that kills itself at a point, or is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.stack_driver import eventually

# What the process prints when everything is imported: from here on it is worth killing.
_BEGINS = "begins"


def start(module: str, point: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Run *module* with ``--child POINT`` and wait until it begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--child", point],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline().strip() == _BEGINS
    return process


def finish(module: str, environment: Mapping[str, str]) -> str:
    """Run the command to its end, which must be a good one; what it printed."""
    process = start(module, "", environment)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def kill_at(module: str, point: str, environment: Mapping[str, str]) -> None:
    """Run the command, which kills itself at *point*."""
    with sessions_end({**os.environ, **environment}["WAYBILL_DATABASE_URL"]):
        process = start(module, point, environment)
        output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it did not come to {point}: {output}"


def kill_after(module: str, seconds: float, environment: Mapping[str, str]) -> None:
    """Kill the command *seconds* after it has begun, unless it has ended."""
    with sessions_end({**os.environ, **environment}["WAYBILL_DATABASE_URL"]):
        process = start(module, "", environment)
        time.sleep(seconds)
        process.kill()
        process.communicate()


@contextmanager
def sessions_end(database_url: str) -> Iterator[None]:
    """For a block in which a process is killed: wait until the sessions are over that began in it.

    Postgres ends them when it has noticed, and finishes what they do first. Until then they hold their locks, and may
    commit.
    """

    def sessions() -> set[int]:
        with psycopg.connect(database_url) as connection:
            found = connection.execute(
                "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                " and backend_type = 'client backend'"
            )
            return {pid for (pid,) in found}

    before = sessions()
    yield
    eventually(lambda: sessions() <= before, "the sessions of the killed process are over")


def die_after(owner: Any, name: str, calls: int = 1) -> None:
    """In the process that is to die: let it kill itself when *owner*'s function *name* has returned *calls* times."""
    original: Callable[..., Any] = getattr(owner, name)
    returned = 0

    def count() -> None:
        nonlocal returned
        returned += 1
        if returned == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    async def in_turn(*arguments: Any, **options: Any) -> Any:
        found = await original(*arguments, **options)
        count()
        return found

    def at_once(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        count()
        return found

    setattr(owner, name, in_turn if asyncio.iscoroutinefunction(original) else at_once)


def run_child(*arguments: str) -> None:
    """In that process: run the command."""
    from waybill.cli import run

    print(_BEGINS, flush=True)
    sys.exit(run(arguments))
