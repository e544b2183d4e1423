"""A gateway, or a bare application on the same server, in a process of its own: for measurements and for kills."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.server.server import GatewayServer
from waybill.process.gateway_socket import address_of, listen


@dataclass(frozen=True)
class ServerProcess:
    """A process that answers at *url*."""

    url: str
    pid: int

    def peak_mib(self) -> float:
        """The most memory that it ever held, since the last `forget_peak`."""
        return self._status("VmHWM")

    def resident_mib(self) -> float:
        return self._status("VmRSS")

    def forget_peak(self) -> None:
        """Have the peak begin at what it holds now: proc(5), clear_refs."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


@contextmanager
def gateway_process(
    home: Path, database_url: str, *, listener: socket.socket | None = None, **environment: str
) -> Iterator[ServerProcess]:
    """A gateway as `waybill up` runs it, with its log in *home*, and *environment* beside what names its database.

    It listens at *listener*, which stays open for the next one; without it at a socket of its own.
    """
    reading, writing = os.pipe()
    with (
        listener.dup() if listener is not None else listen("127.0.0.1", 0) as listener,
        (home / "gateway.log").open("ab") as log,
    ):
        arguments = ["--home", str(home), "--ready-fd", str(writing), "--listen-fd", str(listener.fileno())]
        process = subprocess.Popen(
            [sys.executable, "-m", "waybill.process.gateway_process", *arguments],
            env={
                **os.environ,
                "WAYBILL_HOME": str(home),
                "WAYBILL_DATABASE_URL": database_url,
                "WAYBILL_PUBLIC_URL": address_of(listener),
                **environment,
            },
            stdin=subprocess.PIPE,
            stderr=log,
            pass_fds=[writing, listener.fileno()],
        )
        os.close(writing)
        try:
            is_ready = select.select([reading], [], [], PATIENCE_SECONDS)[0] and os.read(reading, 1)
            assert is_ready, (home / "gateway.log").read_text()[-2000:]
            yield ServerProcess(address_of(listener), process.pid)
        finally:
            os.close(reading)
            process.terminate()
            process.communicate(timeout=PATIENCE_SECONDS)


@contextmanager
def bare_process(make_app: Callable[[str], ASGIApp], argument: str = "") -> Iterator[ServerProcess]:
    """What *make_app* makes of *argument*, on the gateway's own server with the gateway's own settings."""
    context = multiprocessing.get_context("spawn")
    with listen("127.0.0.1", 0) as listener:
        process = context.Process(target=_serve, args=(make_app, argument, listener), daemon=True)
        process.start()
        try:
            yield ServerProcess(address_of(listener), process.pid or 0)
        finally:
            process.terminate()
            process.join(PATIENCE_SECONDS)


def _serve(make_app: Callable[[str], ASGIApp], argument: str, listener: socket.socket) -> None:
    asyncio.run(GatewayServer(make_app(argument), lambda: False).serve(sockets=[listener]))
