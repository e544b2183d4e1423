"""The watches of a catalogue: their places, and how the last look ended."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.errors import WatchNotFound
from blocks.json_cleaning import json_value
from blocks.postgres import Connection, execute, fetch_all, fetch_optional

_ADD = """
    insert into watches (watch_id, source) values (%(watch_id)s, %(source)s)
        on conflict (watch_id) do nothing
 returning watch_id
"""
# A removal waits for this lock; recording how a look ended does not.
_KEEP = "select watch_id from watches where watch_id = %(watch_id)s for key share"
_LOOKED = """
    update watches set looked_at = clock_timestamp(), problem = null, problem_at = null where watch_id = %(watch_id)s
"""
_PROBLEM = """
    update watches set problem = %(problem)s, problem_at = clock_timestamp() where watch_id = %(watch_id)s
"""
_REMOVE = "delete from watches where watch_id = %(watch_id)s returning watch_id"
_READ = """
    select w.watch_id, w.source, w.created_at, w.looked_at, w.problem, w.problem_at,
           count(f.source) as files,
           count(*) filter (where f.state in ('seen', 'retry')) as waiting,
           count(*) filter (where f.state in ('starting', 'running')) as running,
           count(*) filter (where f.state = 'done') as done,
           count(*) filter (where f.state = 'failed') as failed
      from watches w left join watched_files f using (watch_id)
     group by w.watch_id order by w.created_at, w.watch_id
"""


@dataclass(frozen=True, kw_only=True)
class WatchState:
    """A watch with the numbers of its files by state. *problem* is why the last look failed."""

    watch_id: str
    source: str
    created_at: datetime
    looked_at: datetime | None
    problem: str | None
    problem_at: datetime | None
    files: int
    waiting: int
    running: int
    done: int
    failed: int

    def as_json(self) -> dict[str, Any]:
        """Return it as commands and the API show it."""
        return {name: json_value(value) for name, value in vars(self).items()}


def watch_id_of(source: str) -> str:
    """Return the id of the watch of *source*: a place is watched once in a catalogue."""
    return f"wat_{hashlib.sha256(source.encode(errors='surrogateescape')).hexdigest()[:16]}"


async def add_watch(connection: Connection, source: str) -> bool:
    """Record the watch of *source*; return whether it was not known."""
    values = {"watch_id": watch_id_of(source), "source": source}
    return await fetch_optional(connection, _ADD, values) is not None


@asynccontextmanager
async def while_watched(connection: Connection, watch_id: str) -> AsyncGenerator[None]:
    """Open a transaction in which the watch is there: its removal waits. Raises `WatchNotFound` if it was removed."""
    async with connection.transaction():
        if await fetch_optional(connection, _KEEP, {"watch_id": watch_id}) is None:
            raise WatchNotFound(f"the watch {watch_id} was removed")
        yield


async def record_look(connection: Connection, watch_id: str) -> None:
    """Record that a look has ended without a problem."""
    await execute(connection, _LOOKED, {"watch_id": watch_id})


async def record_problem(connection: Connection, watch_id: str, problem: str) -> None:
    """Record why a look failed."""
    await execute(connection, _PROBLEM, {"watch_id": watch_id, "problem": problem})


async def remove_watch(connection: Connection, watch_id: str) -> bool:
    """Forget a watch and the files that it has seen; return whether there was one."""
    return await fetch_optional(connection, _REMOVE, {"watch_id": watch_id}) is not None


async def read_watches(connection: Connection) -> Mapping[str, WatchState]:
    """Return all watches by id."""
    return {row["watch_id"]: WatchState(**row) for row in await fetch_all(connection, _READ, {})}
