"""What a reader that does not read costs the gateway in memory.

A gateway in a process of its own. Clients ask for a file of 30 MB and read nothing: half of them first, so that what
Python and its threads allocate once is there, then the others. Prints by how much the gateway's resident memory grows
for each of the others. What the kernel's socket buffers hold does not count as the memory of a process; Linux bounds it
in `net.ipv4.tcp_wmem` and `net.ipv4.tcp_mem`. Exit code 1 when a bar is missed.

    python -m benchmarks.gateway_slow_readers [--readers 300]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from blocks.access import READ, WRITE, create_key
from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from tests.gateway import ServerProcess, gateway_process
from waybill.stack import running_stack

FILE_BYTES = 30_000_000
MAX_KIB = 64.0
# Until every reader has been found not to read, and its file is closed.
SETTLE_SECONDS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--readers", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        settings = Settings(home=Path(name) / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            key = asyncio.run(made_key(addresses.database_url))
            with gateway_process(settings.home, addresses.database_url) as gateway:
                kib = measure(gateway, key, arguments.readers)
    print(f"{kib:.1f} KiB for each reader, at most {MAX_KIB:g}: {'held' if kib <= MAX_KIB else 'MISSED'}")
    return int(kib > MAX_KIB)


async def made_key(database_url: str) -> str:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        return (await create_key(connection, name="benchmark", scopes=[READ, WRITE])).text


def measure(gateway: ServerProcess, key: str, count: int) -> float:
    """KiB of resident memory for each of *count* readers."""
    with httpx.Client(base_url=gateway.url, headers={"Authorization": f"Bearer {key}"}, timeout=120.0) as client:
        sent = client.post("/api/v1/files/upload", files={"file": ("a.bin", os.urandom(FILE_BYTES))})
        path = f"/api/v1/files/download/{sent.json()['file_id']}"
    url = urlsplit(gateway.url)
    address = url.hostname or "", url.port or 0
    half = count // 2
    sockets = [opened(address, path, key) for _ in range(half)]
    time.sleep(SETTLE_SECONDS)
    before = gateway.resident_mib()
    sockets += [opened(address, path, key) for _ in range(count - half)]
    time.sleep(SETTLE_SECONDS)
    grown = gateway.resident_mib() - before
    for one in sockets:
        one.close()
    return 1024 * grown / (count - half)


def opened(address: tuple[str, int], path: str, key: str) -> socket.socket:
    """A connection whose client has asked for *path* and reads nothing."""
    one = socket.create_connection(address)
    one.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    return one


if __name__ == "__main__":
    sys.exit(main())
