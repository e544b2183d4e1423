"""What the retention costs: planning over a large catalogue, and removing what has expired.

Planning: rows of uploads and stage outputs are written into a fresh database on embedded Postgres, one in ten of them
expired. A plan is made three times in a process of its own, whose memory counts. Then all of them expire.

Removing: expired files with manifests are stored in a local folder and, with --s3-files, on a real S3 server. Plans of
the product remove them: tombstones, bytes, manifests, rows, events. The baseline is a bare loop of `os.unlink`, or bare
requests of `delete_objects` for 1,000 keys, over as many files and manifests in the same run. The ratio is the
baseline's seconds through ours. Exits with 1 when a bar is missed.

    python -m benchmarks.expiry [--rows 1000000] [--files 100000] [--s3-files 0]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg

from blocks.catalog import Catalog, Connection
from blocks.custody import Custody
from blocks.custody.manifest import manifest_path
from blocks.keys import StorageKeys
from blocks.retention import Removed, RetentionPolicy, execute_plan, make_plan
from blocks.settings import Settings
from blocks.storage import Backend, new_blob_path, open_backend
from waybill.stack import running_stack

MAX_PLAN_SECONDS = 3.0
MAX_PLAN_MIB = 150.0
MIN_LOCAL_RATIO = 0.6
MIN_S3_RATIO = 0.8
ROUNDS = 3
_CONTENT = b"x" * 100
_PLAIN = StorageKeys(recipient=None, identities=())

# Five outputs and an upload for each source, of the last thirty days.
_ROWS = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name, stage_key,
                           media_type, size, sha256, stored_size, stored_sha256, location, created_at, expires_at)
    select file_id, 'available', case when stage is null then 'upload' else 'stage_output' end,
           'report-' || document || '.pdf', '/documents/folder-' || document %% 100 || '/report-' || document || '.pdf',
           decode(md5(document::text) || md5(document::text), 'hex'), stage,
           case when stage is not null then 'stage-' || stage end,
           case when stage is not null then decode(md5(n::text) || md5(n::text), 'hex') end, 'application/octet-stream',
           1000, decode(md5(n::text) || md5('c' || n), 'hex'), 1200, decode(md5('s' || n) || md5(n::text), 'hex'),
           'outputs/' || left(file_id::text, 2) || '/' || replace(file_id::text, '-', ''), created_at,
           created_at + interval '27 days'
      from (select n, n / 6 as document, nullif(n %% 6, 0)::smallint as stage, gen_random_uuid() as file_id,
                   clock_timestamp() - (n %% 30000) * interval '86.4 seconds' as created_at
              from generate_series(1, %(rows)s) n) as made
"""

_FILES = """
    insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, media_type, size, sha256,
                           stored_size, stored_sha256, location, created_at, expires_at)
    select file_id, 'available', 'upload', 'report-' || n || '.pdf', '/documents/report-' || n / 6 || '.pdf',
           decode(md5(n::text) || md5(n::text), 'hex'), 'application/pdf', 100,
           decode(md5(n::text) || md5('c' || n), 'hex'), 100,
           decode(md5('s' || n) || md5(n::text), 'hex'), location, clock_timestamp() - interval '31 days',
           clock_timestamp() - interval '1 day'
      from unnest(%(file_ids)s::uuid[], %(locations)s::text[]) with ordinality as made (file_id, location, n)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--s3-files", type=int, default=0)
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.plan is not None:
        return _plan_in_this_process(arguments.plan)
    missed: list[str] = []
    # On a disk, where the product's folders usually are; a file system in memory has no sync.
    with (
        tempfile.TemporaryDirectory(prefix="waybill-bench-", dir="/var/tmp") as folder,
        running_stack(Settings(home=Path(folder) / "home"), prefect=False) as addresses,
    ):
        if arguments.rows:
            missed += _planning(addresses.database_url, arguments.rows)
        if arguments.files:
            missed += _local(addresses.database_url, Path(folder), arguments.files)
        if arguments.s3_files:
            missed += _s3(addresses.database_url, arguments.s3_files)
    for miss in missed:
        print(f"MISSED: {miss}")
    return 1 if missed else 0


# Planning -------------------------------------------------------------------------------------------------------------

_POLICIES = {
    "what has expired": RetentionPolicy(max_files=10_000_000, max_share=1),
    "... keeping the newest three": RetentionPolicy(max_files=10_000_000, max_share=1, keep_newest=3),
    "... keeping inputs": RetentionPolicy(max_files=10_000_000, max_share=1, keep_inputs=True),
    "... and a size budget": RetentionPolicy(max_files=10_000_000, max_share=1, max_stored_bytes=1_000_000_000),
}


def _planning(url: str, rows: int) -> list[str]:
    execute(url, _ROWS, {"rows": rows})
    execute(url, "vacuum analyze artifacts")
    missed = [miss for name, policy in _POLICIES.items() for miss in _plan(url, rows, name, policy)]
    execute(url, "update artifacts set expires_at = clock_timestamp() - interval '1 day'")
    execute(url, "vacuum analyze artifacts")
    missed += _plan(url, rows, "all have expired", _POLICIES["what has expired"])
    execute(url, "truncate artifacts cascade")
    return missed


def _plan(url: str, rows: int, name: str, policy: RetentionPolicy) -> list[str]:
    seconds: list[float] = []
    found: dict[str, Any] = {}
    for _ in range(ROUNDS):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.expiry", "--plan", json.dumps([url, policy.model_dump_json()])],
            stdout=subprocess.PIPE,
            check=True,
        )
        found = json.loads(done.stdout)
        seconds.append(found["seconds"])
        execute(url, "delete from retention_plans")
    median = statistics.median(seconds)
    print(
        f"plan over {rows:,} rows, {name}: {median:.2f} s (bar {MAX_PLAN_SECONDS:g}); {found['files']:,} go; "
        f"client {found['mib']:.0f} MiB (bar {MAX_PLAN_MIB:g})"
    )
    return [
        *([f"planning, {name}: {median:.2f} s"] if median > MAX_PLAN_SECONDS else []),
        *([f"planning, {name}: {found['mib']:.0f} MiB"] if found["mib"] > MAX_PLAN_MIB else []),
    ]


def _plan_in_this_process(text: str) -> int:
    url, policy = json.loads(text)

    async def plan() -> tuple[float, int]:
        async with Catalog.open(url) as catalog:
            begun = time.perf_counter()
            made = await make_plan(catalog, RetentionPolicy.model_validate_json(policy))
            return time.perf_counter() - begun, made.files

    seconds, files = asyncio.run(plan())
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "files": files, "mib": peak_mib}))
    return 0


# Removing -------------------------------------------------------------------------------------------------------------


def _local(url: str, folder: Path, files: int) -> list[str]:
    ratios: list[float] = []
    backend = open_backend(str(folder / "storage"))
    bare = open_backend(str(folder / "bare"))
    for number in range(ROUNDS):
        ours, theirs = _paths(files), _paths(files)
        for root, paths in ((folder / "storage", ours.values()), (folder / "bare", theirs.values())):
            _write_files(root, paths)
        _insert(url, ours)

        def unlink(paths: Sequence[str] = tuple(theirs.values())) -> None:
            for path in paths:
                os.unlink(bare.locate(path))  # noqa: PTH108
                os.unlink(bare.locate(manifest_path(path)))  # noqa: PTH108

        ratios.append(_compare(f"local, round {number + 1}", unlink, lambda: _remove(url, backend, files), number))
        assert not list(backend.paths()) and not list(bare.paths())
        execute(url, "truncate artifacts cascade; delete from retention_plans")
    return _verdict("local storage", files, ratios, MIN_LOCAL_RATIO)


def _s3(url: str, files: int) -> list[str]:
    from tests.s3.server import running_s3_server

    with running_s3_server() as server:
        ratios: list[float] = []
        for number in range(1 if files > 5000 else ROUNDS):
            buckets = [server.new_bucket(), server.new_bucket()]
            backends = [open_backend(f"s3://{bucket}/waybill", server.options) for bucket in buckets]
            ours, theirs = _paths(files), _paths(files)
            for backend, paths in zip(backends, (ours.values(), theirs.values()), strict=True):
                _put_all(backend, paths)
            _insert(url, ours)
            client = server.client()
            keys = [f"waybill/{one}" for path in theirs.values() for one in (path, manifest_path(path))]

            def delete(keys: Sequence[str] = keys, bucket: str = buckets[1], client: Any = client) -> None:
                for start in range(0, len(keys), 1000):
                    part = [{"Key": key} for key in keys[start : start + 1000]]
                    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": part, "Quiet": True})
                    assert not answer.get("Errors")

            ratios.append(
                _compare(f"S3, round {number + 1}", delete, lambda one=backends[0]: _remove(url, one, files), number)
            )
            execute(url, "truncate artifacts cascade; delete from retention_plans")
    return _verdict("S3", files, ratios, MIN_S3_RATIO)


def _compare(name: str, bare: Callable[[], None], ours: Callable[[], float], number: int) -> float:
    """Time both, in alternating order."""
    seconds: dict[str, float] = {}
    for which in ("bare", "ours") if number % 2 == 0 else ("ours", "bare"):
        gc.collect()
        if which == "ours":
            seconds[which] = ours()
        else:
            begun = time.perf_counter()
            bare()
            seconds[which] = time.perf_counter() - begun
    print(f"{name}: bare {seconds['bare']:.2f} s, ours {seconds['ours']:.2f} s")
    return seconds["bare"] / seconds["ours"]


def _remove(url: str, backend: Backend, files: int) -> float:
    """Return the seconds of the execution; the plan is made before."""

    async def record(connection: Connection, removed: Sequence[Removed]) -> None:
        from blocks.webhooks.outbox import Event, add_events, computed_event_id

        # One event for each source, as the flow records them.
        by_source: dict[str, list[Removed]] = {}
        for one in removed:
            by_source.setdefault(one.source_file, []).append(one)
        events = [
            Event(
                event_id=computed_event_id("files_expired", *(one.file_id for one in some)),
                event_type="files_expired",
                task_id=None,
                source_file=source,
                occurred_at=some[0].expires_at,
                data={"files": [{"file_id": str(one.file_id), "filename": one.filename} for one in some]},
            )
            for source, some in by_source.items()
        ]
        await add_events(connection, events, lambda _: None)

    async def run() -> float:
        async with Catalog.open(url) as catalog:
            custody = Custody(catalog=catalog, backend=backend, keys=_PLAIN)
            plan = await make_plan(catalog, RetentionPolicy(max_files=10_000_000, max_share=1))
            assert plan.files == files
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun = time.perf_counter()
            outcome = await execute_plan(custody, plan, record)
            seconds = time.perf_counter() - begun
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            assert (outcome.removed, outcome.failed) == (files, {})
            print(f"  memory grew by {grown:.0f} MiB over {files:,} files")
            return seconds

    return asyncio.run(run())


def _verdict(what: str, files: int, ratios: list[float], bar: float) -> list[str]:
    median = statistics.median(ratios)
    print(f"removing {files:,} files on {what}: {median:.2f} of the bare loop (bar {bar:g}), rounds {len(ratios)}")
    return [f"removing on {what}: {median:.2f}"] if median < bar else []


def _paths(files: int) -> dict[UUID, str]:
    return {file_id: new_blob_path("upload", file_id) for file_id in (uuid4() for _ in range(files))}


def _write_files(root: Path, paths: Iterator[str] | Any) -> None:
    folders: set[Path] = set()
    for path in paths:
        target = root / path
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders.add(target.parent)
        for one in (target, root / manifest_path(path)):
            descriptor = os.open(one, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, _CONTENT)
            os.close(descriptor)
    os.sync()


def _put_all(backend: Backend, paths: Any) -> None:
    both = [one for path in paths for one in (path, manifest_path(path))]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda path: backend.publish(path, [_CONTENT]), both))


def _insert(url: str, files: dict[UUID, str]) -> None:
    execute(url, _FILES, {"file_ids": list(files), "locations": list(files.values())})
    execute(url, "vacuum analyze artifacts")
    execute(url, "checkpoint")


def execute(url: str, statement: str, values: Any = None) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode(), values)


if __name__ == "__main__":
    sys.exit(main())
