"""Many small downloads at once: what custody, keys, links and the audit log add to the time that a request takes.

200 clients at once, each on a connection of its own, download files of 20 kB one after the other: by API key, and by
signed link. In turn with them the same requests go to the bare framework, a FastAPI route on the same server with the
same settings that answers the same bytes from memory. Prints requests a second and the time of a request, median and
99th percentile, medians of some rounds. Exit code 1 when a bar is missed.

    python -m benchmarks.gateway_small_downloads [--clients 200] [--each 10] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Response
from starlette.types import ASGIApp

from blocks.access import READ, create_key
from blocks.catalog import Artifact, Catalog, Draft
from blocks.catalog.migrate import migrate
from blocks.custody import Custody
from blocks.keys import load_storage_keys
from blocks.links import DOWNLOAD_PATH, Links
from blocks.settings import Settings
from blocks.storage import open_backend
from tests.gateway import bare_process, gateway_process
from waybill.stack import running_stack

FILE_BYTES = 20_000
FILES = 50
# With 200 that come at once, each waits for the others; a person notices from here on.
MAX_P99_MS = 1000.0
# Requests a second: a page with a thousand small results is there in some seconds.
MIN_PER_SECOND = 300.0
PATIENCE_SECONDS = 120.0

Timings = list[float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--each", type=int, default=10, help="downloads of each client, one after the other")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        settings = Settings(home=Path(name) / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            artifacts, key = asyncio.run(prepared(settings, addresses.database_url))
            with (
                gateway_process(settings.home, addresses.database_url, WAYBILL_REQUESTS_PER_MINUTE="10000000") as ours,
                bare_process(from_memory) as bare,
            ):
                links = Links.of(replace(settings, public_url=ours.url))
                requests = {
                    "bare framework": [request(f"{bare.url}/file")],
                    "by link": [request(links.to_download(one, timedelta(hours=1)).url) for one in artifacts],
                    "by key": [request(f"{ours.url}{DOWNLOAD_PATH}/{one.file_id}", key) for one in artifacts],
                }
                return report(measure(requests, arguments.clients, arguments.each, arguments.rounds))


async def prepared(settings: Settings, database_url: str) -> tuple[list[Artifact], str]:
    """Files in custody, encrypted, and a key that may read them."""
    draft = Draft(kind="upload", filename="small.json", source_file="small.json", document_sha256="d" * 64,
                  media_type="application/json", keep_for=timedelta(days=1))  # fmt: skip
    async with Catalog.open(database_url) as catalog:
        backend = open_backend(settings.resolved_storage_url)
        custody = Custody(catalog=catalog, backend=backend, keys=load_storage_keys(settings))
        artifacts = [await custody.take(draft, os.urandom(FILE_BYTES)) for _ in range(FILES)]
        async with catalog.connection() as connection:
            key = await create_key(connection, name="benchmark", scopes=[READ])
    return artifacts, key.text


def from_memory(_: str) -> ASGIApp:
    """The bare framework."""
    app, content = FastAPI(openapi_url=None), os.urandom(FILE_BYTES)

    @app.get("/file")
    async def file() -> Response:  # pyright: ignore[reportUnusedFunction] - the framework calls it
        return Response(content, media_type="application/json")

    return app


def request(url: str, key: str | None = None) -> tuple[int, bytes]:
    """Where to connect to, and what to send."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return int(parts.port or 80), f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{authorization}\r\n".encode()


def measure(
    requests: dict[str, list[tuple[int, bytes]]], clients: int, each: int, rounds: int
) -> dict[str, list[tuple[float, Timings]]]:
    """Requests a second, and the milliseconds of each, by round."""
    found: dict[str, list[tuple[float, Timings]]] = {name: [] for name in requests}
    for number in range(-1, rounds):
        for name, chosen in requests.items():
            # Each client beside the others; the first round warms up what is imported, cached and connected.
            rate, timings = asyncio.run(load(chosen, clients, each))
            if number >= 0:
                found[name].append((rate, timings))
                print(f"round {number} {name}: {rate:.0f}/s, p99 {percentile(timings, 99):.1f} ms", file=sys.stderr)
    return found


async def load(requests: Sequence[tuple[int, bytes]], clients: int, each: int) -> tuple[float, Timings]:
    """Requests a second and the milliseconds of each."""
    timings: Timings = []

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", requests[0][0], limit=2**20)
        for turn in range(each):
            began = time.perf_counter()
            writer.write(requests[(number * each + turn) % len(requests)][1])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            body = await reader.readexactly(FILE_BYTES)
            timings.append(1000 * (time.perf_counter() - began))
            assert len(body) == FILE_BYTES
        writer.close()

    began = time.perf_counter()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(client(number) for number in range(clients)))
    return clients * each / (time.perf_counter() - began), timings


def percentile(timings: Timings, share: int) -> float:
    return statistics.quantiles(timings, n=100)[share - 1]


def report(found: dict[str, list[tuple[float, Timings]]]) -> int:
    print(f"medians of {len(found['by key'])} rounds:")
    good = True
    for name, rounds in found.items():
        rate = statistics.median(rate for rate, _ in rounds)
        p50, p99 = (statistics.median(percentile(timings, share) for _, timings in rounds) for share in (50, 99))
        line = f"  {name:16} {rate:7.0f}/s   p50 {p50:7.1f} ms   p99 {p99:7.1f} ms"
        if name != "bare framework":
            held = rate >= MIN_PER_SECOND and p99 <= MAX_P99_MS
            good &= held
            line += f"   bars {MIN_PER_SECOND:.0f}/s and p99 {MAX_P99_MS:.0f} ms: {'held' if held else 'MISSED'}"
        print(line)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
