"""Two hosts on one machine: network namespaces with an address each and one link between them.

Nothing else connects them: what listens on 127.0.0.1 of one host cannot be reached from the other one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fault.mounts import can_mount
from tests.wire import MTU, enter

# 203 in the second place: no network of a test machine is likely to have it. The third is the process's own.
_NETWORK = "10.203.{number}"
_REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Host:
    """A network namespace with one address."""

    name: str
    address: str
    device: str

    def command(self, *arguments: str) -> list[str]:
        """Return *arguments* as a command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str) -> str:
        """Run a command on this host to its end and return what it prints; it must succeed."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)} on {self.name}: {done.stderr[-2000:]}"
        return done.stdout

    def enter(self) -> None:
        """Move the calling thread to this host: the sockets that it makes from now on are there, whoever holds them."""
        enter(self.name)

    def sent_bytes(self) -> int:
        """How many bytes have left on the link to the other host, with all headers and whatever was sent again."""
        return int(self.run("cat", f"/sys/class/net/{self.device}/statistics/tx_bytes"))

    def reaches(self, address: str, port: int) -> bool:
        """Whether a TCP connection from this host opens within two seconds."""
        program = f"import socket; socket.create_connection(({address!r}, {port}), 2).close()"
        return subprocess.run(self.command(sys.executable, "-c", program), capture_output=True).returncode == 0


class Wire:
    """The link of two hosts, whose packets can be lost and delayed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, text: str) -> None:
        """Change what happens to packets: ``loss SHARE``, ``delay SECONDS`` (one way), ``down`` or ``up``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()


def can_have_hosts() -> bool:
    """Whether this process may make network namespaces, and has what it takes."""
    return can_mount() and shutil.which("ip") is not None and Path("/dev/net/tun").exists()


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Two hosts with a fast link, for the length of the block. End processes on them before it ends."""
    with _namespaces() as (first, second):
        _ip("link", "add", first.device, "netns", first.name, "type", "veth",
            "peer", "name", second.device, "netns", second.name)  # fmt: skip
        _configure(first, second)
        yield first, second


@contextmanager
def two_hosts_on_a_wire() -> Iterator[tuple[Host, Host, Wire]]:
    """Two hosts whose link can be disturbed, for the length of the block."""
    with _namespaces() as (first, second):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.wire", first.name, first.device, second.name, second.device],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY,
        )  # fmt: skip
        with process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n", "the wire did not start"
                _configure(first, second)
                yield first, second, Wire(process)
            finally:
                process.terminate()


@contextmanager
def _namespaces() -> Iterator[tuple[Host, Host]]:
    names = [f"wb{os.getpid()}{letter}" for letter in "ab"]
    network = _NETWORK.format(number=os.getpid() % 250 + 1)
    made: list[str] = []
    try:
        for name in names:
            _ip("netns", "add", name)
            made.append(name)
        first, second = (Host(name, f"{network}.{index}", f"v{name}"[:15]) for index, name in enumerate(names, 1))
        yield first, second
    finally:
        for name in made:  # the link goes with its namespaces
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _configure(first: Host, second: Host) -> None:
    for host in (first, second):
        host.run("ip", "address", "add", f"{host.address}/24", "dev", host.device)
        host.run("ip", "link", "set", "lo", "up")
        host.run("ip", "link", "set", host.device, "mtu", str(MTU), "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
