"""What a scrape of ``/metrics`` costs when there is much to count.

100,000 files and as many deliveries are put into the catalogue. In turn: a scrape that asks the database, and plain
counts of the two tables, which is the least that anybody who counts them does. Prints medians and the ratio. Exit code
1 when the bar is missed.

    python -m benchmarks.gateway_metrics [--rows 100000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import psycopg

from blocks.settings import Settings
from tests.gateway import Gateway, running_gateway
from waybill.gateway import statistics as gateway_statistics
from waybill.stack import running_stack

# Each table is looked through a few times, for kinds, states and times; more often would not be needed.
MAX_RATIO = 10.0
_ROWS = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, media_type, size, sha256,
                           stored_size, stored_sha256, location, expires_at)
    select gen_random_uuid(), 'available', 'upload', 'a', 'a', hash, 'text/plain', 1, hash, 1, hash, number::text,
           now() + make_interval(hours => number / 100)
      from generate_series(1, {rows}) number, decode(repeat('0', 64), 'hex') hash;
    insert into webhook_secrets (secret_id, sealed) values (gen_random_uuid(), '');
    insert into webhook_endpoints (endpoint_id, origin, url, secret_id)
    select gen_random_uuid(), 'registered', 'https://a', secret_id from webhook_secrets;
    insert into webhook_events (event_id, event_type, occurred_at, body)
    select number::text, 'stage_completed', now(), '{{"data": {{"stage": {{"name": "a", "execution_time": 0.5}}}}}}'
      from generate_series(1, {rows}) number;
    insert into webhook_deliveries (event_id, endpoint_id, state, settled_at)
    select event_id, endpoint_id, 'delivered', now() from webhook_events, webhook_endpoints;
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder,
        running_stack(Settings(home=Path(folder) / "home"), prefect=False) as addresses,
    ):
        with psycopg.connect(addresses.database_url, autocommit=True) as connection:
            connection.execute(_ROWS.format(rows=arguments.rows).encode())
            connection.execute("analyze")
        scrapes, counts = asyncio.run(measure(addresses.database_url, Path(folder) / "gateway", arguments.rounds))
    scrape, count = statistics.median(scrapes), statistics.median(counts)
    print(f"scrape          {1000 * scrape:8.1f} ms   (first {1000 * scrapes[0]:.1f})")
    print(f"plain counts    {1000 * count:8.1f} ms")
    print(f"a scrape against plain counts: {scrape / count:.1f} (bar {MAX_RATIO})")
    return int(scrape / count > MAX_RATIO)


async def measure(database_url: str, home: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of scrapes and of counts, in turn."""
    scrapes: list[float] = []
    counts: list[float] = []
    # Otherwise only the first one would ask the database.
    with mock.patch.object(gateway_statistics, "_FRESH_SECONDS", 0.0):
        async with running_gateway(database_url, home) as gateway:
            headers = await gateway.headers("read")
            for _ in range(rounds):
                scrapes.append(await scraped(gateway, headers))
                counts.append(await counted(gateway))
    return scrapes, counts


async def scraped(gateway: Gateway, headers: dict[str, str]) -> float:
    began = time.perf_counter()
    answer = await gateway.client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


async def counted(gateway: Gateway) -> float:
    began = time.perf_counter()
    async with gateway.custody.catalog.connection() as connection:
        for table in (b"artifacts", b"webhook_deliveries"):
            await (await connection.execute(b"select count(*) from " + table)).fetchone()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
