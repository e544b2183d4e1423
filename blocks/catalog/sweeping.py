"""Catalogue calls of a sweep: which stored paths have a row, which rows a folder should hold, and what was seen before.

A path that was seen without a row is a candidate, with the time of the database at which that was first so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from blocks.catalog import queries, statistics_queries
from blocks.postgres import Connection, execute, fetch_all, fetch_row

# A bare number would do, if no other program took the same for its advisory lock.
_LOCK = "hashtextextended('waybill:sweep', 0)"
_HOLD_FOR_SWEEP = f"select pg_advisory_xact_lock({_LOCK})"
_HOLD_AGAINST_SWEEP = f"select pg_advisory_xact_lock_shared({_LOCK})"

_STATES_OF_PATHS = """
    select location as path, state from artifacts where location = any(%(paths)s)
    union all
    select spare_location, state from artifacts where spare_location = any(%(paths)s)
"""

# Word for word the expression of the index by folder.
_FOLDER = "(split_part(location, '/', 1) || '/' || split_part(location, '/', 2))"
AVAILABLE_IN = f"""
    select file_id, location, damaged_at is not null as is_marked from artifacts
     where {_FOLDER} = %(folder)s and state = 'available'
"""  # noqa: S608 - constants
_AVAILABLE_OUTSIDE = f"""
    select file_id, location, damaged_at is not null as is_marked from artifacts
     where state = 'available'
       and {_FOLDER} not in (select unnest(%(folders)s::text[]))
     order by damaged_at is not null
     limit %(limit)s
"""  # noqa: S608

_CANDIDATE = """
    path, what, first_seen_at,
    first_seen_at < %(since)s and first_seen_at <= clock_timestamp() - make_interval(secs => %(min_age_seconds)s)
        as is_due
"""
_CANDIDATES = f"select {_CANDIDATE} from sweep_candidates where path = any(%(paths)s)"  # noqa: S608 - constants
_RECORD = f"""
    insert into sweep_candidates (path, what)
    select path, what from unnest(%(paths)s::text[], %(whats)s::text[]) as seen (path, what) order by path
        on conflict (path) do update set what = excluded.what, last_seen_at = clock_timestamp()
    returning {_CANDIDATE}
"""  # noqa: S608
_FORGET = "delete from sweep_candidates where path = any(%(paths)s)"
_FORGET_UNSEEN = "delete from sweep_candidates where last_seen_at < %(since)s"


@dataclass(frozen=True, kw_only=True)
class AvailableFile:
    """A file that should have its blob at *location*. `is_marked`: it is known to be damaged."""

    file_id: UUID
    location: str
    is_marked: bool


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One sweep: when it began, by the database's clock, and how much earlier another must have seen what goes."""

    since: datetime
    min_age: timedelta

    def values(self, **others: object) -> dict[str, object]:
        return {"since": self.since, "min_age_seconds": self.min_age.total_seconds(), **others}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A stored path without a row. `is_due`: an earlier sweep has seen it so, the minimum age ago or before."""

    path: str
    what: str
    first_seen_at: datetime
    is_due: bool


async def states_of_paths(connection: Connection, paths: Sequence[str]) -> dict[str, str]:
    """Return the state of the row of each of *paths* that has one, as its location or as the other one of a move."""
    rows = await fetch_all(connection, _STATES_OF_PATHS, {"paths": list(paths)})
    return {str(row["path"]): str(row["state"]) for row in rows}


async def count_by_state(connection: Connection) -> Mapping[str, int]:
    """Return the number of rows in each state."""
    return {str(row["state"]): int(row["count"]) for row in await fetch_all(connection, statistics_queries.STATES, {})}


async def time_of_catalog(connection: Connection) -> datetime:
    """Return the time of the database, by which the age of a candidate counts."""
    found: datetime = (await fetch_row(connection, queries.NOW, {}))["now"]
    return found


async def available_in(connection: Connection, folder: str) -> list[AvailableFile]:
    """Return the available files in *folder*, such as ``outputs/3f``."""
    return [AvailableFile(**row) for row in await fetch_all(connection, AVAILABLE_IN, {"folder": folder})]


async def available_outside(connection: Connection, folders: Sequence[str], *, limit: int) -> list[AvailableFile]:
    """Return up to *limit* available files that are in none of *folders*, first those without a mark."""
    rows = await fetch_all(connection, _AVAILABLE_OUTSIDE, {"folders": list(folders), "limit": limit})
    return [AvailableFile(**row) for row in rows]


async def candidates(connection: Connection, paths: Sequence[str], this: Pass) -> dict[str, Candidate]:
    """Return those of *paths* that sweeps have recorded."""
    rows = await fetch_all(connection, _CANDIDATES, this.values(paths=list(paths)))
    return {row["path"]: Candidate(**row) for row in rows}


async def record_candidates(connection: Connection, seen: Mapping[str, str], this: Pass) -> dict[str, Candidate]:
    """Record that the paths of *seen* (with what each is) have no row now; return them with the time of the first such
    finding."""
    rows = await fetch_all(connection, _RECORD, this.values(paths=list(seen), whats=list(seen.values())))
    return {row["path"]: Candidate(**row) for row in rows}


async def forget_candidates(connection: Connection, paths: Sequence[str]) -> None:
    """Forget *paths*: they were removed."""
    await execute(connection, _FORGET, {"paths": list(paths)})


async def forget_candidates_unseen(connection: Connection, this: Pass) -> None:
    """Forget those that *this* sweep, which is complete, has not seen again: they have a row now, or have gone."""
    await execute(connection, _FORGET_UNSEEN, {"since": this.since})


async def hold_for_sweep(connection: Connection) -> None:
    """Until the caller's transaction ends, let no rebuild give a stored blob a row. Waits for one that does."""
    await execute(connection, _HOLD_FOR_SWEEP, {})


async def hold_against_sweep(connection: Connection) -> None:
    """Until the caller's transaction ends, let no sweep remove a blob without a row. Waits for one that does."""
    await execute(connection, _HOLD_AGAINST_SWEEP, {})
