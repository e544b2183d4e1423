"""Whether a `waybill up` that takes one small document after the other stays what it is.

Clients send documents of a kilobyte with one stage as fast as their runs complete, a few at a time, through the gateway
of a real `waybill up`. At each mark it prints the rate since the mark before, and what has grown: memory and
descriptors of each process, the tables of both databases, logs, and files of the home besides the stored ones. The
baseline is the first mark. Exit code 1 when a process holds more descriptors, more than a quarter more memory, or when
the rate has fallen by more than a quarter.

    python -m benchmarks.steady_state [--ingests 300] [--marks 100,200,300] [--clients 4]
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg

from tests.chaos.world import World
from tests.stack_driver import private_directory
from tests.webhooks.receiver import running_receiver

_MIB = 1024 * 1024
MAX_GROWTH = 1.25
# Connections of a pool come and go.
MAX_DESCRIPTORS = 8
_TABLES = """
    select relname, pg_total_relation_size(oid) from pg_class
     where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace order by 2 desc limit 6
"""
# A run takes seconds; what takes minutes does not come.
_RUN_SECONDS = 300.0


@dataclass
class Mark:
    """What was seen after *count* documents."""

    count: int
    per_second: float
    processes: dict[str, tuple[float, int]]
    databases: dict[str, int]
    tables: dict[str, int]
    log_bytes: int
    other_files: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--ingests", type=int, default=300)
    parser.add_argument("--marks", default="100,200,300")
    parser.add_argument("--clients", type=int, default=4)
    arguments = parser.parse_args()
    wanted = [int(mark) for mark in arguments.marks.split(",")]
    with private_directory() as directory, running_receiver() as receiver:
        world = World(directory / "steady", receiver)
        world.folder.mkdir()
        world.start()
        try:
            marks = list(measure(world, arguments.ingests, wanted, arguments.clients))
            world.stop()
        finally:
            assert world.up is not None
            world.up.kill()
            world.end()
    return report(marks)


def measure(world: World, ingests: int, wanted: list[int], clients: int) -> Iterator[Mark]:
    """Send *ingests* documents, *clients* at a time, and stop for a look at each mark."""
    ingest(world, 0)  # what is built once
    done, began = 0, time.monotonic()
    for mark in sorted({*(mark for mark in wanted if mark < ingests), ingests}):
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda number: ingest(world, number), range(done + 1, mark + 1)))
        per_second = (mark - done) / (time.monotonic() - began)
        found = look(world, mark, per_second)
        show(found)
        yield found
        done, began = mark, time.monotonic()


_clients = threading.local()


def ingest(world: World, number: int) -> None:
    """Send one document and wait until its run has completed."""
    if not hasattr(_clients, "client"):
        _clients.client = httpx.Client(headers={"Authorization": f"Bearer {world.key}"}, timeout=60, trust_env=False)
    client: httpx.Client = _clients.client
    text = f"# Note {number}\n\n" + f"Meter {number} was read on a winter morning. " * 20
    files = {"file": (f"note-{number}.md", text.encode(), "text/markdown")}
    hook = world.receiver.url("/steady")
    answer = client.post(f"{world.url}/api/v1/ingest/file", files=files, data={"stages": "1", "webhook_url": hook})
    answer.raise_for_status()
    deadline = time.monotonic() + _RUN_SECONDS
    while True:
        status = client.get(f"{world.url}/api/v1/status/{answer.json()['task_id']}").raise_for_status().json()
        if status["status"] == "completed":
            return
        if status["status"] in ("failed", "crashed", "cancelled") or time.monotonic() > deadline:
            raise AssertionError(f"note {number}: {status}")
        time.sleep(0.5)


def look(world: World, count: int, per_second: float) -> Mark:
    """What the processes hold and what is on the disk now."""
    processes = {
        role: (process.memory_info().rss / _MIB, process.num_fds())
        for role, process in world.roles().items()
        if process.status() != psutil.STATUS_ZOMBIE
    }
    tables: dict[str, int] = {}
    databases: dict[str, int] = {}
    for name in ("waybill", "prefect"):
        with psycopg.connect(world.database.replace("/waybill?", f"/{name}?")) as connection:
            tables |= {f"{name}.{table}": size for table, size in connection.execute(_TABLES).fetchall()}
            row = connection.execute("select pg_database_size(current_database())").fetchone()
            databases[name] = row[0] if row else 0
    logs = sum(path.stat().st_size for path in (world.home / "logs").rglob("*") if path.is_file())
    return Mark(count, per_second, processes, databases, tables, logs, _other_files(world.home))


def _other_files(home: Path) -> int:
    """Files of the home but stored ones and Postgres's own, which are counted by size."""
    counted_by_size = (f"{home}/artifacts", f"{home}/postgres")
    return sum(len(names) for folder, _, names in os.walk(home) if not folder.startswith(counted_by_size))


def show(mark: Mark) -> None:
    held = ", ".join(f"{role} {mib:.0f} MiB {files} fd" for role, (mib, files) in sorted(mark.processes.items()))
    print(f"{mark.count:6} ingests at {mark.per_second:.2f}/s: {held}")
    databases = ", ".join(f"{name} {size / _MIB:.0f} MiB" for name, size in mark.databases.items())
    largest = sorted(mark.tables.items(), key=lambda one: -one[1])
    tables = ", ".join(f"{name} {size / _MIB:.1f}" for name, size in largest)
    kept = f"{databases}; logs {mark.log_bytes / 1024:.0f} KiB; {mark.other_files} other files"
    print(f"       {kept}; MiB: {tables}", flush=True)


def report(marks: list[Mark]) -> int:
    """Compare the last mark with the first one."""
    first, last = marks[0], marks[-1]
    missed = [
        f"{role}: {before[0]:.0f} to {after[0]:.0f} MiB, {before[1]} to {after[1]} descriptors"
        for role, before in first.processes.items()
        if (after := last.processes.get(role)) is not None
        and (after[0] > MAX_GROWTH * before[0] or after[1] > before[1] + MAX_DESCRIPTORS)
    ]
    if last.per_second * MAX_GROWTH < first.per_second:
        missed.append(f"the rate fell from {first.per_second:.2f} to {last.per_second:.2f} a second")
    per_document = {
        name: (last.databases[name] - first.databases[name]) / max(1, last.count - first.count) / 1024
        for name in last.databases
    }
    print("per document: " + ", ".join(f"{name} {size:.1f} KiB" for name, size in per_document.items()))
    print("\n".join(f"MISSED {line}" for line in missed) or "flat")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
