"""A command that uses the local stack, as a process of its own that tests can share, end and kill.

Run as a program it enters the stack, says where everything is in one JSON line, and leaves when its stdin is closed.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

# Cold starts on a busy machine with two cores; reached only when something hangs.
PATIENCE_SECONDS = 240.0
# For what is about to end; far less than a server that nobody stops lives for.
_ENDING_SECONDS = 60.0
# Below what the kernel gives to connections and to whoever asks for any port: nobody takes one of these in between.
# Each process of a test run has others, and gives none of them twice.
_PORTS = range(20_000 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8, 32_000, 8)
_given_ports: set[int] = set()
# What the Prefect servers that tests share ask for. The server of a home of its own has a random one in that home.
PREFECT_AUTH = "waybill:of-the-servers-that-tests-share"


class StackCommand:
    """One running command; use it in a ``with`` block, which kills what a failed test leaves."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**plain_environment(), "WAYBILL_HOME": str(home), **environment},
            # As in a terminal of its own: a test's signals go to this process only.
            start_new_session=True,
        )

    def __enter__(self) -> StackCommand:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def answer(self) -> dict[str, Any]:
        """The addresses once it is ready, or ``{"error": ..., "message": ...}``."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline() if ready else b""
        assert line, f"the command said nothing; exit code {self.process.poll()}"
        return json.loads(line)

    def leave(self) -> int:
        """Close its stdin and wait; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_SECONDS)

    def send(self, number: signal.Signals) -> int:
        """Send a signal and wait; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def private_directory() -> Iterator[Path]:
    """A fresh directory for homes. Not pytest's: every pytest that starts takes the rights away that Postgres, run by
    root under another account, needs to pass through it."""
    path = Path(tempfile.mkdtemp(prefix="waybill-stack-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def processes_of(home: Path) -> list[str]:
    """What runs for *home*: by its arguments or by the environment it has inherited."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            ours = any(str(home) in word for word in words) or process.environ().get("WAYBILL_HOME") == str(home)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(words)}")
        except psutil.Error:
            continue
    return found


def left_running(home: Path) -> list[str]:
    """What runs for *home* and does not end by itself either: the last of a command's processes take a moment."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def end_everything(home: Path) -> list[str]:
    """Kill what runs for *home*, so that one failed test does not fail the next; what that was."""
    left = left_running(home)
    for line in left:
        os.kill(int(line.split()[0]), signal.SIGKILL)
    eventually(lambda: not processes_of(home), "the killed processes are gone")
    return left


def unused_port() -> int:
    """A port to be listened on in a moment, by a program that has to be told which."""
    while True:
        port = random.choice(_PORTS)
        if port in _given_ports:
            continue
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            _given_ports.add(port)
            return port


def eventually(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Poll until *condition* holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds} s it is still not so that {what}"
        time.sleep(0.05)


def prefect_login(home: Path | None = None) -> tuple[str, str]:
    """User and password for the API of the Prefect server of *home*; without one, of the servers that tests share."""
    credential = PREFECT_AUTH if home is None else (home / "prefect-api-auth").read_text().strip()
    user, _, password = credential.partition(":")
    return user, password


def prefect_variables(address: str) -> dict[str, str]:
    """What a process needs in its environment to use the shared Prefect server at *address*."""
    return {"PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": PREFECT_AUTH}


def plain_environment() -> dict[str, str]:
    """The tests' own environment without what a developer has set for Waybill and Prefect, and for a busy machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WAYBILL_", "PREFECT_"))}
    return {**kept, "WAYBILL_ANSWER_SECONDS": f"{PATIENCE_SECONDS:g}"}


def _run() -> None:
    from blocks.errors import WaybillError
    from blocks.settings.settings import load_settings
    from waybill.stack import running_stack

    port = next((int(option.removeprefix("--port=")) for option in sys.argv if option.startswith("--port=")), None)
    try:
        with running_stack(load_settings(), prefect="--prefect" in sys.argv, ui_port=port) as addresses:
            print(json.dumps(vars(addresses), default=str), flush=True)
            if "--records" in sys.argv:
                _make_records(25)
            sys.stdin.buffer.read()
    except WaybillError as exc:
        print(json.dumps({"error": type(exc).__name__, "message": exc.message}), flush=True)
        sys.exit(1)


def _make_records(count: int) -> None:
    """A flow run with *count* task runs, which Prefect records in the background."""
    import asyncio

    from prefect import flow, task

    @task
    async def step(number: int) -> int:
        return number

    @flow(name="many-steps")
    async def many_steps() -> int:
        return len(await asyncio.gather(*[step(number) for number in range(count)]))

    assert asyncio.run(many_steps()) == count
    print(json.dumps({"records": count}), flush=True)


if __name__ == "__main__":
    # Whoever starts the tests in the background of a shell, or under nohup, has these ignored, and so would we.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    _run()
