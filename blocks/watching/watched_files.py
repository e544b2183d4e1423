"""The files of a watch: seen, taken by a run, done or failed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import orjson

from blocks.postgres import Connection, execute, fetch_all, fetch_row

# A failure that may pass, or a run that was killed, is tried this often in all. Then only a changed file is tried.
MAX_TRIES = 3
# Between two tries of a file; a run has retried for minutes by itself.
RETRY_AFTER = timedelta(minutes=5)

_HOLD = "select pg_try_advisory_lock(hashtextextended(%(key)s, 0)) as held"
_RELEASE = "select pg_advisory_unlock(hashtextextended(%(key)s, 0))"

_READ = """
    select encode(source_sha256, 'hex') as source_sha256, version, version_at, state, taken_version, tries, run_key,
           run_id, taken_at,
           extract(epoch from clock_timestamp() - version_at)::float8 as version_seconds,
           extract(epoch from clock_timestamp() - taken_at)::float8 as taken_seconds
      from watched_files where watch_id = %(watch_id)s
"""
# That a file is still there is recorded once a day: for thousands of files each look would rewrite thousands of rows.
# A changed file keeps the state of the run that has its former version, until it is taken itself.
_SEEN = """
    insert into watched_files as known (watch_id, source_sha256, source, version)
    select %(watch_id)s, decode(source_sha256, 'hex'), source, version
      from jsonb_to_recordset(%(rows)s::jsonb) as given (source_sha256 text, source text, version text)
        on conflict (watch_id, source_sha256) do update set
           seen_at = clock_timestamp(), version = excluded.version,
           version_at = case when known.version = excluded.version then known.version_at else clock_timestamp() end
         where known.version <> excluded.version or known.seen_at < clock_timestamp() - interval '1 day'
"""
# A folder that is not mounted for a weekend loses nothing.
_FORGET = """
    delete from watched_files
     where watch_id = %(watch_id)s and seen_at < clock_timestamp() - interval '90 days'
       and state not in ('starting', 'running')
"""
_TAKE = """
    update watched_files as known
       set tries = case when known.taken_version = given.version then known.tries + 1 else 1 end,
           taken_version = given.version, state = 'starting', run_key = %(run_key)s, run_id = null,
           taken_at = clock_timestamp(), problem = null
      from jsonb_to_recordset(%(rows)s::jsonb) as given (source_sha256 text, source text, version text)
     where known.watch_id = %(watch_id)s and known.source_sha256 = decode(given.source_sha256, 'hex')
"""
_STARTED = """
    update watched_files set state = 'running', run_id = %(run_id)s
     where watch_id = %(watch_id)s and run_key = %(run_key)s and state = 'starting'
"""
# The name of a document that was forgotten is gone from its row, which still says that this version was taken.
_BATCHES = """
    select run_key, run_id,
           coalesce(array_agg(source order by source)
                    filter (where source_sha256 = sha256(convert_to(source, 'UTF8'))), '{}') as sources
      from watched_files where watch_id = %(watch_id)s and state = %(state)s
     group by run_key, run_id order by min(taken_at), run_key
"""
_OUTCOMES = """
    select event_type, source_file, convert_from(body, 'UTF8') as body
      from webhook_events
     where task_id = %(run_id)s and event_type in ('stage_chain_completed', 'stage_failed')
     order by occurred_at
"""
_ENDED = """
    update watched_files as known
       set state = case when given.state = 'retry' and known.tries >= %(max_tries)s then 'failed' else given.state end,
           problem = given.problem
      from jsonb_to_recordset(%(rows)s::jsonb) as given (source_sha256 text, state text, problem text)
     where known.watch_id = %(watch_id)s and known.source_sha256 = decode(given.source_sha256, 'hex')
       and known.run_id = %(run_id)s and known.state = 'running'
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file that a look has found. *is_whole*: no other look is needed to know that it is not being written."""

    source: str
    version: str
    is_whole: bool


@dataclass(frozen=True, kw_only=True)
class WatchedFile:
    """A known file, by the hash of its source.

    *version_seconds* is since when it has this version, *taken_seconds* since when a run has it.
    """

    source_sha256: str
    version: str
    version_at: datetime
    state: str
    taken_version: str | None
    tries: int
    run_key: str | None
    run_id: UUID | None
    taken_at: datetime | None
    version_seconds: float
    taken_seconds: float | None

    def is_due(self, version: str) -> bool:
        """Whether a run is to take *version*, which is whole."""
        if self.state in {"starting", "running"}:
            # Its former version is being processed; the new one is taken when that has ended.
            return False
        if self.taken_version != version:
            return True
        waited = self.taken_seconds is not None and self.taken_seconds >= RETRY_AFTER.total_seconds()
        return self.state == "retry" and waited


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The files that one run takes. *run_id* is None for a run that may not have been started."""

    run_key: str
    run_id: UUID | None
    sources: tuple[str, ...]


@asynccontextmanager
async def hold_watch(connection: Connection, watch_id: str) -> AsyncGenerator[bool]:
    """Hold the lock of a watch on this session; yield False where another process holds it. A dead one holds none."""
    key = {"key": f"waybill watch {watch_id}"}
    held = bool((await fetch_row(connection, _HOLD, key))["held"])
    try:
        yield held
    finally:
        if held:
            await execute(connection, _RELEASE, key)


async def read_files(connection: Connection, watch_id: str) -> dict[str, WatchedFile]:
    """Return the known files by the hash of their source, which `source_digest` gives."""
    rows = await fetch_all(connection, _READ, {"watch_id": watch_id})
    return {row["source_sha256"]: WatchedFile(**row) for row in rows}


async def record_seen(connection: Connection, watch_id: str, found: Sequence[Found]) -> None:
    """Record what a look has found, and forget files that have been gone for three months."""
    await execute(connection, _SEEN, {"watch_id": watch_id, "rows": _rows(found)})
    await execute(connection, _FORGET, {"watch_id": watch_id})


async def take(connection: Connection, watch_id: str, run_key: str, found: Sequence[Found]) -> None:
    """Record that the run with the idempotency key *run_key* takes these versions."""
    await execute(connection, _TAKE, {"watch_id": watch_id, "run_key": run_key, "rows": _rows(found)})


async def record_started(connection: Connection, watch_id: str, run_key: str, run_id: UUID) -> None:
    """Record the id of the run that was started with *run_key*."""
    await execute(connection, _STARTED, {"watch_id": watch_id, "run_key": run_key, "run_id": run_id})


async def read_batches(connection: Connection, watch_id: str, state: str) -> list[Batch]:
    """Return what runs have taken, of files in *state*: ``starting`` or ``running``."""
    rows = await fetch_all(connection, _BATCHES, {"watch_id": watch_id, "state": state})
    return [Batch(run_key=row["run_key"], run_id=row["run_id"], sources=tuple(row["sources"])) for row in rows]


async def read_outcomes(connection: Connection, run_id: UUID) -> tuple[set[str], dict[str, tuple[str, str]]]:
    """Return, by the source of their events, the documents of a run that are done, and type and reason of failures."""
    done: set[str] = set()
    failed: dict[str, tuple[str, str]] = {}
    for row in await fetch_all(connection, _OUTCOMES, {"run_id": run_id}):
        data = cast("Mapping[str, Any]", orjson.loads(row["body"])["data"])
        source = str(row["source_file"])
        if row["event_type"] == "stage_chain_completed":
            if data.get("overall_success"):
                done.add(source)
        else:
            about = cast("Mapping[str, Any]", data.get("metadata") or {})
            stage = cast("Mapping[str, Any]", data.get("stage") or {})
            failed[source] = (str(about.get("error_type") or ""), str(stage.get("error_message") or ""))
    return done, failed


async def record_outcomes(
    connection: Connection, watch_id: str, run_id: UUID, outcomes: Mapping[str, tuple[str, str | None]]
) -> None:
    """Record how the run ended for each of its sources: the state, and why it failed.

    The state ``retry`` becomes ``failed`` after `MAX_TRIES`.
    """
    rows = [
        {"source_sha256": source_digest(source), "state": state, "problem": problem}
        for source, (state, problem) in outcomes.items()
    ]
    values = {"watch_id": watch_id, "run_id": run_id, "max_tries": MAX_TRIES, "rows": json.dumps(rows)}
    await execute(connection, _ENDED, values)


def _rows(found: Sequence[Found]) -> str:
    return json.dumps(
        [{"source_sha256": source_digest(one.source), "source": one.source, "version": one.version} for one in found]
    )


def source_digest(source: str) -> str:
    """Return the hash that a file is known by."""
    return hashlib.sha256(source.encode()).hexdigest()
