"""Listing the catalogue by source and by stage, beside a scan of JSON sidecar files.

100,000 stage outputs (20,000 sources, five stages each) are copied into a fresh database on embedded Postgres; pages of
100 are then listed through `Catalog.list_artifacts`, as the command line and the gateway do, each in a transaction of
its own, with random sources, stages and places in the list. Beside it: the same rows as one small JSON file each, read
and filtered by source. Each is measured three times and the median counts. Exits with 1 when a bar is missed.

    python benchmarks/catalog_listing.py [--calls 2000] [--sources 20000]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from blocks.catalog import Catalog
from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from waybill.stack import running_stack

# What a page of a list may take before a person or a gateway's health check notices it.
MAX_P99_MS = 5.0
PAGE = 100
ROUNDS = 3
STAGES = {
    1: ("markdown-conversion", ".md", "text/markdown"),
    2: ("markdown-optimizer", ".opt.md", "text/markdown"),
    3: ("chunker", ".chunks.json", "application/json"),
    4: ("fact-generator", ".facts.json", "application/json"),
    5: ("ingestor", ".ingestion.json", "application/json"),
}
_COLUMNS = (
    "file_id", "state", "kind", "filename", "source_file", "document_sha256", "stage", "stage_name", "stage_key",
    "run_id", "media_type", "size", "sha256", "stored_size", "stored_sha256", "location", "metadata", "report",
    "created_at", "expires_at",
)  # fmt: skip
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--sources", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder:
        with running_stack(Settings(home=Path(folder) / "home"), prefect=False) as addresses:
            url = filled_database(addresses.database_url, arguments.sources)
            timings = asyncio.run(measure(url, arguments.sources, arguments.calls))
        scan_ms = sidecar_scan_ms(Path(folder) / "sidecars", arguments.sources)
    return report(timings, scan_ms, arguments.sources * len(STAGES))


def rows(sources: int) -> Iterator[Row]:
    """Five outputs for each source, in the order in which runs would have made them; the same ones every time."""
    rng = random.Random(1)
    started = datetime.now(UTC) - timedelta(days=20)
    run_id = UUID(int=rng.getrandbits(128))
    for number in range(sources):
        if number % 50 == 0:  # a batch of documents
            run_id = UUID(int=rng.getrandbits(128))
        document = rng.randbytes(32)
        for stage, (stage_name, suffix, media_type) in STAGES.items():
            file_id = UUID(int=rng.getrandbits(128))
            size, digest = rng.randrange(500, 200_000), rng.randbytes(32)
            created_at = started + timedelta(seconds=number * 60 + stage)
            yield {
                "file_id": file_id,
                "state": "available",
                "kind": "stage_output",
                "filename": f"report-{number:05}{suffix}",
                "source_file": source_name(number),
                "document_sha256": document,
                "stage": stage,
                "stage_name": stage_name,
                "stage_key": rng.randbytes(32),
                "run_id": run_id,
                "media_type": media_type,
                "size": size,
                "sha256": digest,
                "stored_size": size,
                "stored_sha256": digest,
                "location": f"outputs/{file_id.hex[:2]}/{file_id.hex}",
                "metadata": {"title": f"Quarterly report {number}", "language": "en", "words": rng.randrange(9000),
                             "pages": rng.randrange(1, 60), "headings": rng.randrange(40)},
                "report": {"stage_version": "1", "options": {"max_tokens": 256, "overlap": 32}, "inputs": ["source"],
                           "seconds": round(rng.random(), 4), "worker_peak_memory_bytes": 90_000_000, "warnings": []},
                "created_at": created_at,
                "expires_at": created_at + timedelta(days=400),
            }  # fmt: skip


def source_name(number: int) -> str:
    """Where the document of this number came from."""
    return f"/srv/archive/{2000 + number % 25}/department-{number % 40:02}/report-{number:05}.pdf"


def filled_database(url: str, sources: int) -> str:
    """The URL of a fresh catalogue that holds `rows`."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create database listing")
    fresh = url.replace("/waybill?", "/listing?")
    migrate(fresh)
    with psycopg.connect(fresh) as connection:
        copy = f"copy artifacts ({', '.join(_COLUMNS)}) from stdin"
        with connection.cursor() as cursor, cursor.copy(copy.encode()) as target:
            for row in rows(sources):
                target.write_row([Jsonb(row[n]) if isinstance(row[n], dict) else row[n] for n in _COLUMNS])
        connection.commit()
        # The server does this by itself within a minute of such a load.
        connection.autocommit = True
        connection.execute("vacuum analyze artifacts")
    return fresh


async def measure(url: str, sources: int, calls: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each call, in rounds, by what was asked for."""
    rng = random.Random(2)
    async with Catalog.open(url) as catalog:

        async def page(**filters: Any) -> int:
            async with catalog.transaction() as connection:
                return len((await catalog.list_artifacts(connection, limit=PAGE, **filters)).artifacts)

        places = await cursors(catalog, sources)
        questions: dict[str, Callable[[], Awaitable[int]]] = {
            "by source": lambda: page(source=source_name(rng.randrange(sources))),
            "by source's name": lambda: page(source=source_name(rng.randrange(sources)).rsplit("/", 1)[1]),
            "by stage": lambda: page(stage=rng.randrange(1, 6)),
            "by stage, deep in the list": lambda: page(stage=rng.randrange(1, 6), after=rng.choice(places)),
        }
        rounds = [{name: await timed(calls, ask) for name, ask in questions.items()} for _ in range(ROUNDS)]
        return {name: [found[name] for found in rounds] for name in questions}


async def cursors(catalog: Catalog, sources: int) -> list[str]:
    """Places all over the list, in steps of a large page."""
    places: list[str] = []
    while len(places) < sources * len(STAGES) // 1000 - 1:
        async with catalog.transaction() as connection:
            found = await catalog.list_artifacts(connection, limit=1000, after=places[-1] if places else None)
        assert found.next is not None
        places.append(found.next)
    return places


async def timed(calls: int, call: Callable[[], Awaitable[int]]) -> list[float]:
    """Milliseconds of each of *calls*; a first tenth as much is not counted (connections, prepared statements)."""
    for _ in range(calls // 10):
        assert await call()
    found: list[float] = []
    for _ in range(calls):
        started = time.perf_counter()
        assert await call()
        found.append((time.perf_counter() - started) * 1000)
    return found


def sidecar_scan_ms(folder: Path, sources: int) -> float:
    """The median time to find one source among sidecar files, one JSON object of some 400 bytes each, in warm cache."""
    folder.mkdir()
    for row in rows(sources):
        told = {key: row[key] for key in ("filename", "source_file", "stage", "stage_name", "size", "metadata")}
        told |= {
            "sha256": row["sha256"].hex(),
            "file_id": str(row["file_id"]),
            "created_at": row["created_at"].isoformat(),
        }
        (folder / f"{row['file_id'].hex}.meta.json").write_text(json.dumps(told))
    rng = random.Random(3)
    found: list[float] = []
    for _ in range(ROUNDS + 1):
        wanted = source_name(rng.randrange(sources))
        started = time.perf_counter()
        matches = [
            told for path in folder.iterdir() if (told := json.loads(path.read_bytes()))["source_file"] == wanted
        ]
        found.append((time.perf_counter() - started) * 1000)
        assert len(matches) == len(STAGES)
    return statistics.median(found[1:])  # the first one fills the cache


def report(timings: dict[str, list[list[float]]], scan_ms: float, count: int) -> int:
    """Print the table; 1 when a bar is missed."""
    print(f"{count:,} artifacts, pages of {PAGE}")
    print(f"{'list':28}{'p50 ms':>10}{'p99 ms':>10}{'faster than the scan':>24}")
    missed = 0
    for name, rounds in timings.items():
        p50 = statistics.median(statistics.median(values) for values in rounds)
        p99 = statistics.median(statistics.quantiles(values, n=100)[98] for values in rounds)
        missed += p99 > MAX_P99_MS
        print(f"{name:28}{p50:10.2f}{p99:10.2f}{scan_ms / p50:20,.0f} times")
    print(f"{'scan of JSON sidecar files':28}{scan_ms:10.0f}")
    print(f"bar: p99 under {MAX_P99_MS:g} ms, {'missed' if missed else 'met'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
