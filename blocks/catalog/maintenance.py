"""Catalogue calls of maintenance: marks of verification, moves, rows restored from manifests, abandoned writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from blocks.catalog import maintenance_queries, queries
from blocks.catalog.artifact import Artifact, Stored, artifact_of
from blocks.catalog.catalog import UNPIN_GRACE, Catalog, Unfinished
from blocks.catalog.ingestion_counts import without_zeros
from blocks.catalog.json_columns import json_text
from blocks.postgres import Connection, execute, fetch_all, fetch_optional

# One page of rows in memory at a time; large enough that fetching the next is nothing compared to reading their bytes.
PAGE_ROWS = 200

# Stands for "never verified", as in the index over `verified_at`.
_NEVER = datetime.fromtimestamp(0, UTC)


async def mark_verified(connection: Connection, artifact: Artifact) -> None:
    """Record that the stored bytes were read and are right; clears a mark of damage."""
    await execute(
        connection, maintenance_queries.MARK_VERIFIED, {"file_id": artifact.file_id, "location": artifact.location}
    )


async def mark_damaged(connection: Connection, artifact: Artifact, damage: str) -> None:
    """Record that the stored bytes are changed or missing; the time of the first such finding stays."""
    values = {"file_id": artifact.file_id, "location": artifact.location, "damage": damage}
    await execute(connection, maintenance_queries.MARK_DAMAGED, values)


async def longest_unverified(catalog: Catalog, limit: int | None = None) -> AsyncIterator[Artifact]:
    """Yield the files that are available now, once each: first those never verified, then the longest unverified."""
    before, last, left = await catalog.now(), (_NEVER, UUID(int=0)), limit
    while left is None or left > 0:
        async with catalog.connection() as connection:
            values = {
                "before": before,
                "after_verified_at": last[0],
                "after_file_id": last[1],
                "limit": PAGE_ROWS if left is None else min(left, PAGE_ROWS),
            }
            rows = await fetch_all(connection, maintenance_queries.TO_VERIFY, values)
        if not rows:
            return
        for row in rows:
            artifact = artifact_of(row)
            last = (artifact.verified_at or _NEVER, artifact.file_id)
            yield artifact
        left = None if left is None else left - len(rows)


@dataclass(frozen=True, kw_only=True)
class RecipientUse:
    """Files encrypted for one recipient (None: unencrypted). `undamaged` counts those without a mark of damage."""

    encrypted_for: str | None
    files: int
    bytes: int
    undamaged: int


async def by_recipient(connection: Connection) -> list[RecipientUse]:
    """Return counts of available files, expired ones too, by the recipient they are encrypted for."""
    rows = await fetch_all(connection, maintenance_queries.BY_RECIPIENT, {})
    return [RecipientUse(**row) for row in rows]


async def not_encrypted_for(catalog: Catalog, recipient: str | None) -> AsyncIterator[Artifact]:
    """Yield every available file, expired ones too, not encrypted for *recipient*; each once, in order of id."""
    after = UUID(int=0)
    while True:
        async with catalog.connection() as connection:
            values = {"recipient": recipient, "after": after, "limit": PAGE_ROWS}
            rows = await fetch_all(connection, maintenance_queries.NOT_ENCRYPTED_FOR, values)
        if not rows:
            return
        for row in rows:
            artifact = artifact_of(row)
            after = artifact.file_id
            yield artifact


async def begin_move(connection: Connection, artifact: Artifact, spare_location: str) -> bool:
    """Announce a move of the bytes of *artifact* to another path. False when it is moving, has moved or is deleted."""
    values = {"file_id": artifact.file_id, "location": artifact.location, "spare_location": spare_location}
    return await _changed_row(connection, maintenance_queries.BEGIN_MOVE, values)


async def switch_move(connection: Connection, file_id: UUID, spare_location: str, stored: Stored) -> bool:
    """Point readers to the moved bytes; the old path becomes the spare one. False when the file is being deleted."""
    values = {"file_id": file_id, "spare_location": spare_location, **vars(stored)}
    return await _changed_row(connection, maintenance_queries.SWITCH_MOVE, values)


async def end_move(connection: Connection, file_id: UUID, spare_location: str) -> None:
    """Clear a spare path whose bytes are deleted. Idempotent."""
    await execute(connection, maintenance_queries.END_MOVE, {"file_id": file_id, "spare_location": spare_location})


async def hold_location(connection: Connection, file_id: UUID) -> str | None:
    """Return the path that readers use, None without a row, and lock the row until the caller's transaction ends.

    Raises `CatalogUnavailable` when another transaction holds the row for ten seconds.
    """
    await execute(connection, queries.LOCK_TIMEOUT, {})
    row = await fetch_optional(connection, maintenance_queries.HOLD_LOCATION, {"file_id": file_id})
    return str(row["location"]) if row else None


async def interrupted_moves(connection: Connection) -> list[tuple[UUID, str]]:
    """Return file id and spare path of every unfinished move. Call it only under the rotation lock."""
    rows = await fetch_all(connection, maintenance_queries.INTERRUPTED_MOVES, {})
    return [(row["file_id"], str(row["spare_location"])) for row in rows]


async def restore(connection: Connection, artifact: Artifact) -> bool:
    """Write the row that a manifest describes. False when the catalogue has a row for this file or path already.

    The row of a file that the retention has removed is made available again, for `UNPIN_GRACE` at least.
    """
    metadata = without_zeros(artifact.stage_name, artifact.metadata)
    values = {**vars(artifact), "metadata": json_text(metadata, "metadata")}
    values["grace_seconds"] = UNPIN_GRACE.total_seconds()
    values["report"] = json_text(artifact.report, "report")
    return await _changed_row(connection, maintenance_queries.RESTORE, values)


async def known_files(connection: Connection, file_ids: list[UUID]) -> dict[UUID, str]:
    """Return those of *file_ids* that have a row which `restore` leaves as it is, with their location."""
    rows = await fetch_all(connection, maintenance_queries.KNOWN_FILES, {"file_ids": file_ids})
    return {row["file_id"]: str(row["location"]) for row in rows}


async def renew_pending(connection: Connection, file_ids: list[UUID]) -> None:
    """Record that the writer of these `pending` rows lives now."""
    await execute(connection, maintenance_queries.RENEW_PENDING, {"file_ids": file_ids})


async def left_between_states(connection: Connection, silent_for: timedelta) -> list[Unfinished]:
    """Return the `pending` rows whose writer has not renewed them *silent_for* so long, and all that are `deleting`."""
    values = {"silent_seconds": silent_for.total_seconds()}
    return [Unfinished(**row) for row in await fetch_all(connection, maintenance_queries.LEFT_BETWEEN_STATES, values)]


async def hold_abandoned(connection: Connection, file_id: UUID, silent_for: timedelta) -> bool:
    """Lock the `pending` row until the caller's transaction ends, if it is still abandoned and no other locks it."""
    values = {"file_id": file_id, "silent_seconds": silent_for.total_seconds()}
    return await _changed_row(connection, maintenance_queries.HOLD_ABANDONED, values)


async def _changed_row(connection: Connection, statement: str, values: Mapping[str, object]) -> bool:
    return await fetch_optional(connection, statement, values) is not None
