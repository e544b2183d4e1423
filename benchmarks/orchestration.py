"""What Prefect, custody and the catalogue cost on top of the stages themselves.

200 generated Markdown and DOCX documents through all five stages, three ways in turn: as a bare loop over the same five
stage functions in the same pool of worker processes, with plain files in a folder; as that loop with every file taken
into custody; and as a `process-documents` run on a real Prefect server. All ingest into an empty database. Prints
medians, the ratio of the whole run to the bare loop, and what custody and orchestration cost per document.

    python -m benchmarks.orchestration [--documents 200] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from blocks.catalog.migrate import migrate
from blocks.settings import Settings, export_to_environment
from tests.corpus.generated import write_documents
from waybill.stack import running_stack

if TYPE_CHECKING:
    from blocks.custody import Custody

BARE, CUSTODY, FLOW = "bare loop", "loop with custody", "process-documents"
# What a user pays for custody, history and status may not exceed these.
MAX_RATIO = 1.25
MAX_MS_PER_DOCUMENT = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder:
        home = Path(folder) / "home"
        documents = Path(folder) / "documents"
        documents.mkdir()
        write_documents(documents, arguments.documents)
        with running_stack(Settings(home=home)) as addresses:
            results = measure(documents, home, addresses.database_url, arguments.rounds)
    return report(results, arguments.documents)


def measure(documents: Path, home: Path, database_url: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, in turn, each round on a fresh database."""
    ways = {BARE: bare_loop, CUSTODY: loop_with_custody, FLOW: flow_run}
    results: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for place, (name, run) in enumerate(ways.items()):
            with_fresh_database(database_url, f"bench_{number}_{place}")
            started = time.perf_counter()
            asyncio.run(run(documents, home))
            seconds = time.perf_counter() - started
            if number:  # the first round builds the embedding model and warms the page cache
                results[name].append(seconds)
            print(f"round {number} {name}: {seconds:.2f} s", file=sys.stderr)
    return results


def with_fresh_database(database_url: str, name: str) -> None:
    """An empty, migrated catalogue, set in the environment."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'create database "{name}"'.encode())
    fresh = database_url.replace("/waybill?", f"/{name}?")
    migrate(fresh)
    export_to_environment(WAYBILL_DATABASE_URL=fresh)


async def flow_run(documents: Path, home: Path) -> None:
    """The product's way."""
    del home
    from flows.process import process_documents

    state: Any = await process_documents(sources=[str(documents)], return_state=True)  # type: ignore[misc]
    assert state.is_completed(), state


async def bare_loop(documents: Path, home: Path) -> None:
    """The same stage functions and worker processes, and nothing else: no run, no custody, no catalogue."""
    await _loop(documents, home, custody=None)


async def loop_with_custody(documents: Path, home: Path) -> None:
    """The bare loop, with each document and each output stored, hashed and catalogued."""
    from blocks.catalog import Catalog
    from blocks.custody import Custody
    from blocks.keys import load_storage_keys
    from blocks.settings import current_settings
    from blocks.storage import open_backend

    settings = current_settings()
    async with Catalog.open(settings.required_database_url) as catalog:
        keys = load_storage_keys(settings)
        custody = Custody(catalog=catalog, backend=open_backend(settings.resolved_storage_url), keys=keys)
        await _loop(documents, home, custody=custody)


async def _loop(documents: Path, home: Path, *, custody: Custody | None) -> None:
    from blocks.catalog import Draft, StageMark
    from blocks.settings import current_settings
    from tasks.contract import SOURCE, Services
    from tasks.examination import examine
    from tasks.job import Job
    from tasks.pool import WorkerPool
    from tasks.registry import BUILT_IN

    settings = current_settings()
    services = Services(home=home, database_url=settings.required_database_url)
    day = timedelta(days=1)

    async def one(pool: WorkerPool, path: Path, folder: Path) -> None:
        info = examine(path, str(path), 2**30).info
        named = {"source_file": str(path), "document_sha256": info.sha256, "keep_for": day}
        if custody is not None:
            await custody.take(Draft(kind="upload", filename=path.name, media_type=info.media_type, **named), path)
        files = {SOURCE: path}
        for stage in BUILT_IN:
            target = folder / f"{path.name}{stage.suffix}"
            result = await pool.run(
                Job(
                    stage_name=stage.name,
                    stage_key=info.sha256,
                    document=info,
                    files=dict(files),
                    options={},
                    target=target,
                )
            )
            files[stage.name] = target
            if custody is not None:
                mark = StageMark(number=stage.number, name=stage.name, key=info.sha256)
                draft = Draft(
                    kind="stage_output",
                    filename=target.name,
                    media_type=stage.media_type,
                    stage=mark,
                    metadata=result.metadata,
                    **named,
                )
                await custody.take(draft, target)

    paths = sorted(documents.iterdir())  # noqa: ASYNC240 (nothing else runs yet)
    with tempfile.TemporaryDirectory() as folder:
        async with WorkerPool.open(settings, services) as pool:
            await asyncio.gather(*(one(pool, path, Path(folder)) for path in paths))


def report(results: dict[str, list[float]], documents: int) -> int:
    """Print the table; 1 when a bar is missed."""
    medians = {name: statistics.median(values) for name, values in results.items()}
    ratio = medians[FLOW] / medians[BARE]
    custody_ms = (medians[CUSTODY] - medians[BARE]) / documents * 1000
    orchestration_ms = (medians[FLOW] - medians[CUSTODY]) / documents * 1000
    for name, seconds in medians.items():
        print(f"{name:20} {seconds:8.2f} s   {seconds / documents * 1000:8.1f} ms per document")
    print(f"whole run against the bare loop: {ratio:.3f} (bar {MAX_RATIO})")
    print(f"custody {custody_ms:.1f}, orchestration {orchestration_ms:.1f} ms per document (bar {MAX_MS_PER_DOCUMENT})")
    return 0 if ratio <= MAX_RATIO and orchestration_ms <= MAX_MS_PER_DOCUMENT else 1


if __name__ == "__main__":
    sys.exit(main())
