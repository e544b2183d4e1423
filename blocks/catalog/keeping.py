"""Catalogue calls that decide how long a file stays: legal holds, extensions, and leases of those who read it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from blocks.catalog import queries
from blocks.catalog.artifact import Artifact, artifact_of
from blocks.catalog.catalog import UNPIN_GRACE, why_not_found
from blocks.durations import LONGEST_PERIOD
from blocks.errors import InvalidOptions
from blocks.postgres import Connection, Row, execute, fetch_optional, fetch_row

# Some missed renewals: a database that restarts ends no lease. A reader that was killed delays a removal by no more.
READING_LASTS = timedelta(minutes=5)


async def hold(connection: Connection, file_id: UUID, *, note: str | None = None) -> Artifact:
    """Put a file under a legal hold, also one that has expired and is still stored. Idempotent; the last note stands.

    Raises `ArtifactNotFound`, and its subclass `ArtifactGone` for a file that was deleted.
    """
    row = await fetch_optional(connection, queries.HOLD, {"file_id": file_id, "note": note})
    if row is None:
        raise await why_not_found(connection, file_id)
    return artifact_of(row)


async def release(connection: Connection, file_id: UUID) -> Artifact | None:
    """Lift a legal hold; the file stays for `UNPIN_GRACE` at least. None when there is no hold on such a file."""
    values = {"file_id": file_id, "grace_seconds": UNPIN_GRACE.total_seconds()}
    row = await fetch_optional(connection, queries.RELEASE, values)
    return artifact_of(row) if row else None


async def extend(
    connection: Connection,
    file_id: UUID,
    end: timedelta | datetime,
    *,
    shorten: bool = False,
    even_expired: bool = False,
) -> Artifact | None:
    """Set the expiry of a file to *end*, a time or how long from now by the database's clock.

    None when the file stays for longer already and *shorten* is not given, or when it cannot be read: an expired file
    is extended only with *even_expired*. Raises `InvalidOptions` for a time that has passed, or is too far away.
    """
    if isinstance(end, datetime):
        now: datetime = (await fetch_row(connection, queries.NOW, {}))["now"]
        if not now < end <= now + LONGEST_PERIOD:
            raise InvalidOptions(
                f"a file can be kept until a time that is still to come, within {LONGEST_PERIOD.days:,} days; "
                f"{end.isoformat()} is not (the database's clock shows {now.isoformat(timespec='seconds')})"
            )
    values = {
        "file_id": file_id,
        "shorten": shorten,
        "even_expired": even_expired,
        "until": end if isinstance(end, datetime) else None,
        "seconds": end.total_seconds() if isinstance(end, timedelta) else None,
    }
    row = await fetch_optional(connection, queries.EXTEND, values)
    return artifact_of(row) if row else None


async def extend_all(connection: Connection, file_ids: Sequence[UUID], keep_for: timedelta) -> None:
    """Let each of the files that can be read stay for *keep_for* from now at least."""
    values = {"file_ids": list(file_ids), "seconds": keep_for.total_seconds()}
    await execute(connection, queries.EXTEND_ALL, values)


async def row_in_any_state(connection: Connection, file_id: UUID) -> Row | None:
    """Return state, name, times and rule of removal of a file, also of a deleted one; None if it never existed."""
    return await fetch_optional(connection, queries.IN_ANY_STATE, {"file_id": file_id})


async def begin_reading(connection: Connection, file_id: UUID, reader_id: UUID) -> bool:
    """Keep a file from being removed for `READING_LASTS`. False when it is not there, or is being removed."""
    values = {"file_id": file_id, "reader_id": reader_id, "lease_seconds": READING_LASTS.total_seconds()}
    return await fetch_optional(connection, queries.BEGIN_READING, values) is not None


async def renew_reading(connection: Connection, readings: Sequence[tuple[UUID, UUID]]) -> None:
    """Keep files from being removed for `READING_LASTS` from now; *readings* are ids of files and of their readers.

    Removes leases that ended more than a day ago, of any reader.
    """
    values = {
        "file_ids": [file_id for file_id, _ in readings],
        "reader_ids": [reader_id for _, reader_id in readings],
        "lease_seconds": READING_LASTS.total_seconds(),
    }
    await execute(connection, queries.RENEW_READING, values)


async def end_reading(connection: Connection, file_id: UUID, reader_id: UUID) -> None:
    """Let the file go as far as this reader is concerned. Idempotent."""
    await execute(connection, queries.END_READING, {"file_id": file_id, "reader_id": reader_id})
