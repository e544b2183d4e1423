"""What the processes of a home listen on, and what another account of the machine gets there."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

# Of the account `nobody`, which every system has.
NOBODY = 65534
_ANSWER_SECONDS = 60
# What a program's command line contains, and its name in the table of docs/security.md.
_NAMES = {
    "waybill.process.gateway_process": "gateway",
    "waybill.stack.prefect_process": "Prefect server",
    "waybill.stack.flow_server": "flow server",
    "multiprocessing.forkserver": "worker processes",
    "/postgres -k ": "Postgres",
    # Holds the gateway's socket while the gateway starts again.
    " up --port ": "gateway",
}
_ROUTE = re.compile(r'@router\.(get|post|put|patch|delete|websocket)\(\s*"([^"]*)"')
_PREFIX = re.compile(r'Router\(\s*prefix="([^"]*)"')


@dataclass(frozen=True)
class Listener:
    """A socket that takes connections: of which program, and a port with its address, or a path."""

    name: str
    address: str
    port: int = 0


def listeners_of(home: Path) -> set[Listener]:
    """Everything that the processes of *home* listen on: TCP, UDP and Unix sockets, with a path or without."""
    unix = _listening_unix_sockets()
    found = set[Listener]()
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            if str(home) not in line and process.environ().get("WAYBILL_HOME") != str(home):
                continue
            name = next((name for part, name in _NAMES.items() if part in line), line)
            for one in process.net_connections("inet"):
                if one.status == psutil.CONN_LISTEN or (one.type == socket.SOCK_DGRAM and not one.raddr):
                    found.add(Listener(name, one.laddr.ip, one.laddr.port))
            for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # it has closed the file; the others are still there
                    if (inode := str(descriptor.readlink())) in unix:
                        found.add(Listener(name, unix[inode]))
        except (psutil.Error, OSError):
            continue  # it has ended
    return found


def _listening_unix_sockets() -> dict[str, str]:
    """The path of each, an abstract name's with "@", by what a descriptor of it links to."""
    rows = [line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    # The flag of sockets that accept connections (net/socket.h, __SO_ACCEPTCON).
    return {f"socket:[{row[6]}]": row[7] if len(row) > 7 else "@" for row in rows if int(row[3], 16) & 0x10000}


def prefect_routes() -> list[tuple[str, str]]:
    """Method and path of every route of Prefect's API, read from its code; "WEBSOCKET" for a websocket's."""
    spec = find_spec("prefect")
    assert spec is not None
    assert spec.origin is not None
    found: list[tuple[str, str]] = []
    for file in sorted((Path(spec.origin).parent / "server" / "api").rglob("*.py")):
        text = file.read_text()
        prefix = _PREFIX.search(text)
        for method, path in _ROUTE.findall(text):
            concrete = re.sub(
                r"\{[^}]*\}", "00000000-0000-0000-0000-000000000000", f"/api{prefix[1] if prefix else ''}{path}"
            )
            found.append((method.upper(), concrete))
    return found


def as_nobody(work: Callable[[], Any]) -> Any:
    """The result of *work*, done by a process of another account that has no groups and no rights."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            with os.fdopen(writing, "w") as stream:
                json.dump(work(), stream)
        except BaseException:  # noqa: BLE001 - whatever it is, this process is not the test's
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    assert os.waitpid(child, 0)[1] == 0, said
    return json.loads(said)


def status_of(port: int, method: str, path: str, **headers: str) -> int:
    """The status of an HTTP request without credentials; of a websocket's handshake, when *method* says so."""
    if method == "WEBSOCKET":
        method = "GET"
        headers |= {
            "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "d2F5YmlsbCBpcyBoZXJlIQ==",
        }  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_SECONDS)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def connects(path: str) -> str:
    """How an attempt to reach a Unix socket ends; "" when it succeeds."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError as exc:
            return type(exc).__name__
    return ""


def answer_to_garbage(port: int) -> str:
    """What a listener sends to a client that does not know its protocol's secret, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_SECONDS) as client:
        client.sendall(b"0123456789abcdef0123456789abcdef\n")
        said = b""
        try:
            while more := client.recv(4096):
                said += more
        except ConnectionResetError:
            pass
    return said.decode(errors="replace")
