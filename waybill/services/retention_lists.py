"""Files by what the retention does with them: those that go next, and those that are kept past their time."""

from __future__ import annotations

from typing import Any

from blocks.catalog import Artifact, Connection
from blocks.catalog.artifact import artifact_of
from blocks.catalog.queries import COLUMNS
from blocks.postgres import fetch_all

_GOES_NEXT = f"""
    select {COLUMNS} from artifacts
     where state = 'available' and pinned_at is null and held_at is null and expires_at > clock_timestamp()
     order by expires_at, file_id
     limit %(limit)s
"""  # noqa: S608 - a constant
_KEPT = f"""
    select {COLUMNS} from artifacts
     where state = 'available' and (pinned_at is not null or held_at is not null)
     order by greatest(pinned_at, held_at) desc, file_id
     limit %(limit)s
"""  # noqa: S608 - a constant


async def next_to_go(connection: Connection, limit: int) -> list[Artifact]:
    """Return the files whose own time ends first. A rule of the settings may keep one of them longer."""
    return await _listed(connection, _GOES_NEXT, limit)


async def kept_files(connection: Connection, limit: int) -> list[Artifact]:
    """Return the files that a pin or a legal hold keeps, the newest first."""
    return await _listed(connection, _KEPT, limit)


async def _listed(connection: Connection, statement: str, limit: int) -> list[Artifact]:
    values: dict[str, Any] = {"limit": limit}
    return [artifact_of(row) for row in await fetch_all(connection, statement, values)]
