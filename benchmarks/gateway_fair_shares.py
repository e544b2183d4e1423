"""What an honest API key waits while another key takes all it can get.

A gateway in a process of its own. One key uploads and downloads 20 kB, one request after the other: on an idle gateway;
while another key has 32 uploads that drip 1 KiB a second, each begun again immediately when it is refused; and while it
has 200 uploads that stop after their head, each begun again as `Retry-After` says. The three take turns, for some
rounds. Prints median and 99th percentile of each, over all rounds, and their ratio to the idle gateway. Exit code 1
when a bar is missed.

    python -m benchmarks.gateway_fair_shares [--each 100] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from blocks.access import READ, WRITE, create_key
from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from tests.gateway import gateway_process
from waybill.gateway.errors import RETRY_AFTER_SECONDS
from waybill.stack import running_stack

FILE_BYTES = 20_000
# Of the idle gateway, in the same run.
MAX_RATIO = 2.0
PATIENCE_SECONDS = 120.0
# As long as the other key needs to take every place, and to be measured as slow.
SETTLE_SECONDS = 2.0


@dataclass
class Timings:
    """Seconds of each request."""

    upload: list[float] = field(default_factory=list[float])
    download: list[float] = field(default_factory=list[float])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--each", type=int, default=100, help="uploads and downloads of a round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        settings = Settings(home=Path(name) / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            with gateway_process(settings.home, addresses.database_url) as gateway:
                found = asyncio.run(measure(gateway.url, addresses.database_url, arguments.each, arguments.rounds))
    return report(found)


async def measure(url: str, database_url: str, each: int, rounds: int) -> dict[str, Timings]:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        honest, greedy = [
            (await create_key(connection, name=name, scopes=[READ, WRITE], requests_per_minute=1_000_000)).text
            for name in ("honest", "greedy")
        ]
    found = {"idle": Timings(), "32 that drip": Timings(), "200 that stop": Timings()}
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {honest}"}, timeout=PATIENCE_SECONDS
    ) as client:
        await honest_requests(client, each, Timings())
        for number in range(rounds):
            await honest_requests(client, each, found["idle"])
            for name, uploads, drips in (("32 that drip", 32, True), ("200 that stop", 200, False)):
                async with slow_uploads(url, greedy, uploads, drips=drips):
                    await honest_requests(client, each, found[name])
                await asyncio.sleep(SETTLE_SECONDS)
            print(f"round {number} done", file=sys.stderr)
    return found


async def honest_requests(client: httpx.AsyncClient, each: int, into: Timings) -> None:
    content = os.urandom(FILE_BYTES)
    for _ in range(each):
        began = time.perf_counter()
        sent = await client.post("/api/v1/files/upload", files={"file": ("a.bin", content)})
        into.upload.append(time.perf_counter() - began)
        assert sent.status_code == 201, sent.text
        began = time.perf_counter()
        got = await client.get(f"/api/v1/files/download/{sent.json()['file_id']}")
        into.download.append(time.perf_counter() - began)
        assert got.content == content


@asynccontextmanager
async def slow_uploads(url: str, key: str, count: int, *, drips: bool) -> AsyncGenerator[None]:
    """*count* uploads at the same time, each begun again when it is refused."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    head = (
        f"POST /api/v1/files/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: multipart/form-data; boundary=xx\r\nContent-Length: 20000000\r\n\r\n"
    ).encode()
    begin = b'--xx\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'

    async def one() -> None:
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port)
                answer = asyncio.create_task(reader.read(1))
                try:
                    writer.write(head + (begin if drips else b""))
                    while not answer.done():
                        if drips:
                            writer.write(bytes(1024))
                        await asyncio.wait([answer], timeout=1.0)
                finally:
                    answer.cancel()
                    writer.transport.abort()
            await asyncio.sleep(0.2 if drips else random.uniform(1, 2) * RETRY_AFTER_SECONDS)

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await asyncio.sleep(SETTLE_SECONDS)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def report(found: dict[str, Timings]) -> int:
    missed = False
    for kind in ("upload", "download"):
        idle = percentile_99(getattr(found["idle"], kind))
        for name, timings in found.items():
            seconds: list[float] = getattr(timings, kind)
            p99 = percentile_99(seconds)
            is_missed = p99 / idle > MAX_RATIO
            missed = missed or is_missed
            print(
                f"{kind:8} {name:14} median {1000 * statistics.median(seconds):7.1f} ms, p99 {1000 * p99:7.1f} ms, "
                f"{p99 / idle:5.2f} times idle" + (f"  MISSED: at most {MAX_RATIO:g}" if is_missed else "")
            )
    return int(missed)


def percentile_99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


if __name__ == "__main__":
    sys.exit(main())
