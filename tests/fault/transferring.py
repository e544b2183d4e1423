"""A client of a hand-over in a process of its own, which stops at given bytes until it is killed or may go on.

Run as a program with an order in JSON. It prints ``held`` at each byte to stop at and then reads the next one from
standard input, or ``done`` at the end. How many bytes its process, and those before it, have moved is in a file of
8 bytes, which outlives a kill.
"""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import Any, Self

import httpx

from blocks.age import parse_identities, parse_recipient
from blocks.hand_over import connection, download, ranges, upload
from tests.stack_driver import PATIENCE_SECONDS, plain_environment
from tests.two_hosts import Host

_COUNT = struct.Struct("q")
_REPOSITORY = Path(__file__).resolve().parents[2]
# Beyond the end of every file.
_NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a client does: fetch into *path*, or send it."""

    direction: str
    url: str
    token: str
    path: Path
    key: str
    """Of a download the identity that opens it, of an upload the recipient."""

    @property
    def transfer_id(self) -> str:
        return self.url.split("/")[-2]

    @property
    def count_path(self) -> Path:
        return self.path.parent.with_name(f"{self.path.parent.name}.count")

    @property
    def moved_bytes(self) -> int:
        """What all processes of this order have read from the network, or given to it."""
        return int(_COUNT.unpack(self.count_path.read_bytes())[0])


class Client:
    """A running client, which stops at byte *hold_at*."""

    def __init__(self, order: Order, host: Host | None, hold_at: int | None = None) -> None:
        if not order.count_path.exists():
            order.count_path.write_bytes(bytes(_COUNT.size))
        program = [
            sys.executable,
            "-m",
            "tests.fault.transferring",
            json.dumps({**vars(order), "hold_at": hold_at or _NEVER}, default=str),
        ]
        self._errors = order.path.parent.with_name(f"{order.path.parent.name}.log")
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                host.command(*program) if host else program,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=_REPOSITORY,
                env=plain_environment(),
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def wait_until_held(self) -> None:
        """Wait until it has come to the byte to stop at."""
        self._expect("held")

    def go_on(self, hold_at: int | None = None) -> None:
        """Let it go on to byte *hold_at*."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{hold_at or _NEVER}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def finish(self) -> None:
        """Wait for its end."""
        self._expect("done")
        self._process.communicate(timeout=PATIENCE_SECONDS)
        assert self._process.returncode == 0, self._errors.read_text()[-3000:]

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == word, f"{line!r} instead of {word!r}: {self._errors.read_text()[-3000:]}"


# In the process of the client -----------------------------------------------------------------------------------------


def watch(note: Callable[[int, int], None]) -> None:
    """Have *note* called with how many bytes were read from, or written to, a connection, and where they end."""
    fill, begin, write = ranges.RangeReader.fill, connection.Connection.begin, connection.Connection.write
    offsets: dict[int, int] = {}

    def watched_fill(self: ranges.RangeReader, view: memoryview) -> int:
        before = self.received
        count = fill(self, view)
        note(self.received - before, self.position)
        return count

    def watched_begin(self: connection.Connection, method: str, headers: Mapping[str, str]) -> None:
        offsets[id(self)] = int(headers.get("Upload-Offset", "0"))
        begin(self, method, headers)

    def watched_write(self: connection.Connection, data: bytes | memoryview) -> None:
        write(self, data)
        offsets[id(self)] += len(data)
        note(len(data), offsets[id(self)])

    ranges.RangeReader.fill = watched_fill
    connection.Connection.begin = watched_begin
    connection.Connection.write = watched_write


def main() -> None:
    given: dict[str, Any] = json.loads(sys.argv[1])
    hold_at = given.pop("hold_at")
    order = Order(**{**given, "path": Path(given["path"])})
    with order.count_path.open("r+b") as file, mmap(file.fileno(), _COUNT.size) as counted:

        def note(moved: int, position: int) -> None:
            nonlocal hold_at
            counted[:] = _COUNT.pack(_COUNT.unpack(counted[:])[0] + moved)
            while position >= hold_at:
                print("held", flush=True)
                hold_at = int(sys.stdin.readline())

        watch(note)
        asyncio.run(transfer(order))
    print("done", flush=True)


async def transfer(order: Order) -> None:
    if order.direction == "upload":
        state = order.path.with_name("seal-state")
        await upload(order.url, order.token, order.path, recipients=[parse_recipient(order.key)], state=state)
        return
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        identities = parse_identities(order.key)
        await download(client, order.url, order.token, order.path, identities=identities)


if __name__ == "__main__":
    main()
