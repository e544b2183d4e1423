"""Preparing the hand-over of a large file: a header for its recipient, instead of encrypting it again.

One file (5 GB by default) is stored encrypted. A gateway in a process of its own then prepares downloads of it over
HTTP, each for another recipient and with its entry in the audit log. Prints the median and the longest time, and for
comparison how long it took to store the file. Exit code 1 when the bar is missed.

    python -m benchmarks.transfer_prepare [--gb 5] [--times 20]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.custody_throughput import write_source
from benchmarks.gateway_download import stored, verdict
from blocks.access import READ, create_key
from blocks.age import X25519Identity
from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from tests.gateway import gateway_process
from waybill.stack import running_stack

MAX_MEDIAN_SECONDS = 0.020
# The first requests open connections and read keys.
WARM_UP_TIMES = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gb", type=float, default=5.0)
    parser.add_argument("--times", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        folder = Path(name)
        source = folder / "source"
        write_source(source, int(arguments.gb * 1e9))
        settings = Settings(home=folder / "home")
        with running_stack(settings, prefect=False) as addresses:
            migrate(addresses.database_url)
            began = time.perf_counter()
            file_id = str(asyncio.run(stored(settings, addresses.database_url, source)).file_id)
            encrypting = time.perf_counter() - began
            os.sync()  # the disk is still writing the file, and the catalogue would wait for it
            key = asyncio.run(made_key(addresses.database_url))
            with gateway_process(settings.home, addresses.database_url) as gateway:
                return report(prepared(gateway.url, key, file_id, arguments.times), encrypting)


async def made_key(database_url: str) -> str:
    async with Catalog.open(database_url) as catalog, catalog.connection() as connection:
        return (await create_key(connection, name="benchmark", scopes=[READ])).text


def prepared(url: str, key: str, file_id: str, times: int) -> list[float]:
    """Seconds of each preparation."""
    found: list[float] = []
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for number in range(WARM_UP_TIMES + times):
            recipient = X25519Identity.generate().recipient.text
            wanted = {"direction": "download", "file_id": file_id, "recipient": recipient}
            began = time.perf_counter()
            answer = client.post("/api/v1/transfers", json=wanted)
            seconds = time.perf_counter() - began
            assert answer.status_code == 201, answer.text
            if number >= WARM_UP_TIMES:
                found.append(seconds)
    return found


def report(found: list[float], encrypting: float) -> int:
    median = statistics.median(found)
    held = median < MAX_MEDIAN_SECONDS
    bar = f"bar {MAX_MEDIAN_SECONDS * 1000:.0f} ms: {verdict(held)}"
    print(f"preparing a hand-over, {len(found)} times:")
    print(f"  median                     {median * 1000:8.1f} ms    {bar}")
    print(f"  longest                    {max(found) * 1000:8.1f} ms")
    print(f"  storing it, encrypted      {encrypting:8.1f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
