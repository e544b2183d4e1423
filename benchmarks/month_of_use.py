"""Whether a month of use, with 10,000 runs, leaves databases, files and logs that stop growing.

What is real: Postgres, the Prefect server, one run of a document, the removal of files by the retention (rows, bytes,
manifests, events), the trimming of each night, which is that of `trim-history` with its API calls, and the bound on
logs. What is simulated: all other runs are copies of the real one, written into both databases with new ids and the
times of a day in the past (states, task runs, task states, logs, artifacts, Prefect's events; our events, deliveries,
attempts, notes, files, outputs, audit entries), each file with bytes and a manifest in the storage, and lines in the
gateway's log. The clock is that of the machine: each night trims with a longer period, so that it ends at the same
past moment, and removes the files of the day three days before. Prefect's old events are deleted in place of its vacuum
service, which has no such clock. Both databases are vacuumed after each night, as autovacuum does within a minute of a
day.

Prints for each simulated day what there is. Exit code 1 when a database, or the number or bytes of all files, is more
than a tenth larger on the last day than on the second day after the history was full, or when logs take more than two
times their bound; the audit log, which is kept for a year, is left out.

    python -m benchmarks.month_of_use [--runs 10000] [--days 30]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Composable, Identifier

from blocks.access import Actor
from blocks.custody.manifest import manifest_path
from blocks.open_custody import open_custody
from blocks.retention import RetentionPolicy
from blocks.settings import Settings, current_settings
from blocks.storage import new_blob_path, open_backend
from blocks.webhooks.event_links import EventLinks
from tasks.expiry import run_retention
from tests.stack_driver import private_directory
from waybill.stack import running_stack
from waybill.stack.home import bound_logs
from waybill.stack.postgres import EmbeddedPostgres

HISTORY_DAYS = 7
_FILES_KEPT = timedelta(days=3)
MAX_GROWTH = 1.10
# The log of one server and what was moved away from it before, 10 MiB each.
MAX_LOG_MB = 22.0
_MB = 1e6
_TABLES = """
    select relname, pg_total_relation_size(oid) from pg_class
     where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace order by 2 desc limit 5
"""
# An empty manifest's size does not matter, only that it takes a file.
_MANIFEST_BYTES = 600
# What the gateway writes for one request, and how many requests a client makes for one run.
_LOG_LINE = b"x" * 299 + b"\n"
_LOG_LINES = 100
# What the run of the retention has recorded is of the simulated night, and its events are delivered.
_AS_OF_THE_NIGHT = (
    "update webhook_events set occurred_at = %(midnight)s, recorded_at = %(midnight)s"
    " where event_type = 'files_expired' and recorded_at >= %(began)s",
    "update webhook_deliveries set state = 'delivered', settled_at = %(midnight)s where state = 'pending'",
    "update retention_plans set created_at = %(midnight)s, ended_at = %(midnight)s where created_at >= %(began)s",
    "update artifacts set deleted_at = %(midnight)s where deleted_at >= %(began)s",
)
# By run: the tables of both databases that hold something of it, and the condition that finds it.
_ITS_EVENTS = "select event_id from event_resources where resource_id like '%%' || %(run)s::text"
_PREFECT_TABLES = {
    "flow_run": "id = %(run)s",
    "flow_run_state": "flow_run_id = %(run)s",
    "task_run": "flow_run_id = %(run)s",
    "task_run_state": "task_run_id in (select id from task_run where flow_run_id = %(run)s)",
    "artifact": "flow_run_id = %(run)s",
    "log": "flow_run_id = %(run)s",
    "events": f"id in ({_ITS_EVENTS})",
    "event_resources": f"event_id in ({_ITS_EVENTS})",
}
_OUR_TABLES = {
    "webhook_events": "task_id = %(run)s",
    "webhook_deliveries": "event_id in (select event_id from webhook_events where task_id = %(run)s)",
    "webhook_attempts": "delivery_id in (select delivery_id from webhook_deliveries)",
    "webhook_runs_read": "run_id = %(run)s",
    "artifacts": "file_id in (select file_id from run_outputs where run_id = %(run)s)",
    "run_outputs": "run_id = %(run)s",
    "audit_log": "run_id = %(run)s",
}


@dataclass(frozen=True)
class Day:
    """What there was after the night of a simulated day."""

    number: int
    databases: dict[str, float]
    runs: int
    events: int
    files: int
    file_mb: float
    log_mb: float
    audit_mb: float
    removed: int
    seconds: float


class Copier:
    """Copies the rows of one run, with new ids and shifted times."""

    def __init__(self, url: str, tables: dict[str, str], run: UUID, at: datetime) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        # The rows are whole together; foreign keys of one to the other would ask for an order.
        self.connection.execute("set session_replication_role = replica")
        self.at = at
        self.statements = [self._prepare(table, condition, run) for table, condition in tables.items()]

    def _prepare(self, table: str, condition: str, run: UUID) -> Composable:
        columns = self.connection.execute(
            "select attname, format_type(atttypid, null) from pg_attribute where attrelid = %s::regclass"
            " and attnum > 0 and not attisdropped and attgenerated = '' and attidentity = ''",
            [table],
        ).fetchall()
        original = SQL("original_{}").format(SQL(table))
        self.connection.execute(
            SQL("create temporary table {} as select * from {} where {}").format(
                original, Identifier(table), SQL(condition)
            ),
            {"run": run},
        )
        names = SQL(", ").join(Identifier(name) for name, _ in columns)
        values = SQL(", ").join(self._value(name, kind) for name, kind in columns)
        return SQL("insert into {} ({}) select {} from {}, generate_series(%(first)s::int, %(last)s::int) n").format(
            Identifier(table), names, values, original
        )

    def _value(self, name: str, kind: str) -> Composable:
        column = Identifier(name)
        # What names a flow, a deployment or an endpoint is the same for all.
        same = ("flow_id", "deployment_id", "endpoint_id", "work_queue_id", "secret_id")
        if kind == "uuid" and name not in same:
            return SQL("md5({}::text || n)::uuid").format(column)
        if name in ("event_id", "location", "resource_id"):
            return SQL("{} || '.' || n").format(column)
        if kind.startswith("timestamp"):
            return SQL("{} + %(shift)s::interval + n * interval '1 second'").format(column)
        return column

    def copy(self, first: int, last: int, moment: datetime) -> None:
        values = {"first": first, "last": last, "shift": moment - self.at}
        with self.connection.transaction():
            for statement in self.statements:
                self.connection.execute(statement, values)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=30)
    arguments = parser.parse_args()
    with private_directory() as directory:
        home = directory / "home"
        with running_stack(Settings(home=home)) as addresses:
            current_settings.cache_clear()
            run = asyncio.run(real_run(directory))
            urls = {"waybill": addresses.database_url, "prefect": EmbeddedPostgres(home).url("prefect")}
            days = list(measure(home, urls, run, arguments.runs // arguments.days, arguments.days))
    return report(days)


async def real_run(directory: Path) -> UUID:
    """Process one document with the first three stages, with a webhook endpoint, as `waybill process` does."""
    from blocks.catalog import Catalog
    from blocks.webhooks.registration import register
    from blocks.webhooks.secrets import SecretBox
    from flows.process import process_documents

    settings = current_settings()
    async with Catalog.open(settings.required_database_url) as catalog, catalog.transaction() as connection:
        await register(connection, SecretBox.of(settings), url="https://receiver.example/")
    document = directory / "letter.md"
    document.write_text("# A letter\n\n" + "The ferry leaves the island at five. " * 50)
    state: Any = await process_documents(sources=[str(document)], stages=[1, 2, 3], return_state=True)
    # Task states, events and log lines reach the server late.
    await asyncio.sleep(10)
    run_id = UUID(str(state.state_details.flow_run_id))
    async with Catalog.open(settings.required_database_url) as catalog, catalog.connection() as connection:
        await connection.execute("update webhook_deliveries set state = 'delivered', settled_at = clock_timestamp()")
        await connection.execute(
            "insert into webhook_attempts (delivery_id, started_at, milliseconds, status, peer)"
            " select delivery_id, clock_timestamp(), 12, 200, '127.0.0.1' from webhook_deliveries"
        )
        await connection.execute(
            "insert into audit_log (action, actor, run_id) values ('ingest', 'key:000000000000', %s)", [run_id]
        )
        await connection.execute("update webhook_history_read set began_at = now() - interval '1 year'")
    return run_id


def measure(home: Path, urls: dict[str, str], run: UUID, per_day: int, days: int) -> Any:
    """Yield each day, after its runs and its night."""
    now = datetime.now(UTC)
    copiers = [Copier(urls["prefect"], _PREFECT_TABLES, run, now), Copier(urls["waybill"], _OUR_TABLES, run, now)]
    for number in range(days):
        day = now - timedelta(days=days - number)
        for copier in copiers:
            copier.copy(number * per_day, (number + 1) * per_day - 1, day)
        store_files(urls["waybill"])
        write_log(home, per_day)
        yield night(home, urls, number, day + timedelta(days=1), now)


def store_files(url: str) -> None:
    """Give the copied rows of files a place in the storage, and bytes and a manifest there."""
    backend = open_backend(current_settings().resolved_storage_url)
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "select file_id, kind, stored_size from artifacts where state = 'available' and location ~ '[.][0-9]+$'"
        ).fetchall()
        paths = [new_blob_path(kind, file_id) for file_id, kind, _ in rows]
        connection.execute(
            "update artifacts a set location = n.location from unnest(%s::uuid[], %s::text[]) as n (file_id, location)"
            " where a.file_id = n.file_id",
            [[file_id for file_id, _, _ in rows], paths],
        )
    for path, (_, _, size) in zip(paths, rows, strict=True):
        for one, count in ((path, size), (manifest_path(path), _MANIFEST_BYTES)):
            target = Path(backend.locate(one))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(bytes(count))


def write_log(home: Path, runs: int) -> None:
    """Write the lines of *runs* runs, whose clients ask for the status, as the gateway does; `waybill up` bounds it."""
    for _ in range(runs):
        with (home / "logs" / "gateway.log").open("ab") as log:
            log.write(_LOG_LINE * _LOG_LINES)
        bound_logs(home)


async def expire(settings: Settings) -> int:
    """Run the retention as the nightly flow does; return how many files went."""
    async with open_custody(settings) as custody:
        report = await run_retention(
            custody,
            RetentionPolicy(max_share=1),
            by=Actor(actor="flow:expire-artifacts"),
            links=EventLinks.of(settings),
        )
    assert not report.failed
    return report.removed_files


def night(home: Path, urls: dict[str, str], number: int, midnight: datetime, now: datetime) -> Day:
    """Trim as of *midnight*, and look at what is left."""
    from flows.history import trim

    before = midnight - timedelta(days=HISTORY_DAYS)
    with (
        psycopg.connect(urls["waybill"], autocommit=True) as ours,
        psycopg.connect(urls["prefect"], autocommit=True) as prefect,
    ):
        ours.execute(
            "update artifacts set expires_at = clock_timestamp() where state = 'available' and created_at < %s",
            [midnight - _FILES_KEPT],
        )
        for statement in (
            "delete from event_resources where occurred < %s",
            "delete from events where occurred < %s",
        ):
            prefect.execute(statement, [before])
        began = time.monotonic()
        expired = asyncio.run(expire(current_settings()))
        for statement in _AS_OF_THE_NIGHT:
            ours.execute(statement, {"began": now, "midnight": midnight})
        trimmed = asyncio.run(trim(current_settings(), history=datetime.now(UTC) - before))
        seconds = time.monotonic() - began
        assert trimmed.prefect_problem is None, trimmed.prefect_problem
        for connection in (ours, prefect):
            connection.execute("vacuum")
        sizes = {
            name: float(connection.execute("select pg_database_size(current_database())").fetchone()[0]) / _MB  # type: ignore[index]
            for name, connection in (("waybill", ours), ("prefect", prefect))
        }
        count = {
            table: int(connection.execute(SQL("select count(*) from {}").format(SQL(table))).fetchone()[0])  # type: ignore[index]
            for connection, table in ((prefect, "flow_run"), (ours, "webhook_events"))
        }
        audit = float(ours.execute("select pg_total_relation_size('audit_log')").fetchone()[0]) / _MB  # type: ignore[index]
        if number % 10 == 9:
            for name, connection in (("waybill", ours), ("prefect", prefect)):
                largest = ", ".join(f"{t} {size / _MB:.1f}" for t, size in connection.execute(_TABLES).fetchall())
                print(f"  largest tables of {name}, MB: {largest}", flush=True)
    logs = sum(path.stat().st_size for path in (home / "logs").iterdir()) / _MB
    files = [
        path.stat().st_size
        for path in home.rglob("*")
        if path.is_file() and path.relative_to(home).parts[0] not in {"postgres", "logs"}
    ]
    removed = sum(trimmed.counted.removed.values())
    day = Day(
        number=number + 1,
        databases=sizes,
        runs=count["flow_run"],
        events=count["webhook_events"],
        files=len(files),
        file_mb=sum(files) / _MB,
        log_mb=logs,
        audit_mb=audit,
        removed=removed,
        seconds=seconds,
    )
    print(
        f"day {day.number:3}: runs {day.runs:6,}  events {day.events:7,}  waybill {sizes['waybill']:6.1f} MB"
        f"  prefect {sizes['prefect']:6.1f} MB  audit {audit:4.1f} MB  files {day.files:6,} of {day.file_mb:5.1f} MB"
        f"  logs {logs:5.2f} MB  expired {expired:5,} files, trimmed {removed:6,} records in {seconds:5.1f} s",
        flush=True,
    )
    return day


def report(days: list[Day]) -> int:
    """Print the growth since the history was full, and the most that logs took; 1 when it is too much."""
    full, last = days[min(HISTORY_DAYS + 2, len(days)) - 1], days[-1]
    growth = {
        name: (last.databases[name] - aside(last)) / (full.databases[name] - aside(full))
        for name, aside in (("waybill", lambda day: day.audit_mb), ("prefect", lambda _: 0.0))
    }
    growth |= {"number of files": last.files / full.files, "bytes of files": last.file_mb / full.file_mb}
    for name, times in growth.items():
        print(f"{name}: {times:.2f} times that of day {full.number}")
    most_logs = max(day.log_mb for day in days)
    print(f"logs: {most_logs:.1f} MB at most")
    return 1 if max(growth.values()) > MAX_GROWTH or most_logs > MAX_LOG_MB else 0


if __name__ == "__main__":
    sys.exit(main())
