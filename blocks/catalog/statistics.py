"""How much is in custody and how it stands, in a few numbers, for whoever watches over it.

One pass over the rows of files that are there, a tenth of a second for a hundred thousand.
"""

from __future__ import annotations

from dataclasses import dataclass

from blocks.postgres import execute
from blocks.postgres.pool import Connection

_BY_KIND = """
    select kind, count(*) as files, sum(stored_size)::bigint as stored_bytes,
           count(*) filter (where pinned_at is not null) as pinned,
           count(*) filter (where damaged_at is not null) as damaged,
           count(*) filter (where pinned_at is null and expires_at > now()
                              and expires_at <= now() + interval '1 day') as expiring,
           count(*) filter (where pinned_at is null and expires_at <= now()) as expired
      from artifacts
     where state = 'available'
     group by kind
     order by kind
"""

# Answered by the index over unfinished rows.
_UNFINISHED = "select state, count(*) as files from artifacts where state in ('pending', 'deleting') group by state"


@dataclass(frozen=True, kw_only=True)
class KindStatistics:
    """Files of one kind, and the bytes that they take up in the storage. *expiring*: their time is over within a day;
    *expired*: it is over, and they have not been removed yet."""

    kind: str
    files: int
    stored_bytes: int
    pinned: int
    damaged: int
    expiring: int
    expired: int


async def custody_statistics(connection: Connection) -> list[KindStatistics]:
    """What is available, by kind; kinds of which there is nothing are left out."""
    return [KindStatistics(**row) for row in await (await execute(connection, _BY_KIND, {})).fetchall()]


async def unfinished_files(connection: Connection) -> dict[str, int]:
    """How many files are being written (`pending`) and removed (`deleting`) just now, or were when somebody died."""
    rows = await (await execute(connection, _UNFINISHED, {})).fetchall()
    return {"pending": 0, "deleting": 0} | {str(row["state"]): int(row["files"]) for row in rows}
