"""Records that could not be read and were left out, so that one of them stops no list, queue or loop.

The process that meets one reports it here. It is logged once, and the table `skipped_records` shows it to the gateway,
which counts them in ``/ready`` and ``/metrics``. An entry is seen again as long as the record is met and unreadable; it
is removed when the record can be read, and no longer counts an hour after it was last met. The table is bounded, and
nothing fails because it cannot be written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Literal, get_args

import psycopg

from blocks.errors import WaybillError
from blocks.postgres import Connection, execute, fetch_all
from blocks.runtime.in_words import shortened

SkippedKind = Literal["run", "block", "file", "event", "delivery", "endpoint", "secret", "document", "request"]

# A loop meets the same record every second, and the table need not hear of it as often.
_WRITE_EVERY_SECONDS = 60.0
# Records that this process remembers; more are logged again when they are met again.
_MOST_REMEMBERED = 1000
_MAX_ID_CHARS, _MAX_REASON_CHARS = 200, 500

# A thousand lines are more than a person looks at. An entry that nothing has met for a day is removed, and so is one of
# a time that will not come soon: it would count for ever.
_REPORT = """
    with outdated as (
        delete from skipped_records
         where last_seen not between clock_timestamp() - interval '1 day' and clock_timestamp() + interval '1 day'
    )
    insert into skipped_records as known (kind, id, reason)
    select %(kind)s, id, reason from unnest(%(ids)s::text[], %(reasons)s::text[]) as given (id, reason)
     where (select count(*) from skipped_records) < 1000
        or exists (select 1 from skipped_records s where s.kind = %(kind)s and s.id = given.id)
     order by id
    on conflict (kind, id) do update set reason = excluded.reason, last_seen = clock_timestamp()
"""

_FORGET = "delete from skipped_records where kind = %(kind)s and id = any(%(ids)s)"

_COUNTS = """
    select kind, count(*) as records from skipped_records
     where kind = any(%(kinds)s)
       and last_seen between clock_timestamp() - interval '1 hour' and clock_timestamp() + interval '1 hour'
     group by kind
     order by kind
"""

_LOG = logging.getLogger("waybill.skipped")

# The reason of each record that this process has met, and when it was last written to the table.
_known: dict[tuple[str, str], tuple[str, float]] = {}


async def report_skipped(
    connection: Connection, kind: SkippedKind, reasons: Mapping[str, str], *, is_logged: bool = False
) -> None:
    """Report records that were left out, by id, with the reason; each is logged once, unless it *is_logged* already.

    Raises nothing.
    """
    now, due = time.monotonic(), dict[str, str]()
    for record_id, reason in reasons.items():
        key, short = (kind, _short(record_id, _MAX_ID_CHARS)), _short(reason, _MAX_REASON_CHARS)
        before = _known.get(key)
        if before is None or before[0] != short:
            if not is_logged:
                _LOG.error("skipped %s=%s because=%s", *key, short)
        elif now - before[1] < _WRITE_EVERY_SECONDS:
            continue
        while len(_known) >= _MOST_REMEMBERED:
            del _known[next(iter(_known))]
        _known[key] = (short, now)
        due[key[1]] = short
    if due:
        await _write(connection, _REPORT, {"kind": kind, "ids": list(due), "reasons": list(due.values())})


async def forget_skipped(connection: Connection, kind: SkippedKind, record_ids: Collection[str]) -> None:
    """Remove records that this process has reported and that can be read now, or are gone. Raises nothing."""
    over = [one for one in record_ids if _known.pop((kind, one), None) is not None]
    for record_id in over:
        _LOG.info("no longer skipped %s=%s", kind, record_id)
    if over:
        await _write(connection, _FORGET, {"kind": kind, "ids": over})


async def skipped_counts(connection: Connection) -> dict[str, int]:
    """Return how many records were left out within the last hour, by kind, without kinds that have none.

    Kinds of another version are left to its own gateway: nothing here would ever forget them.
    """
    rows = await fetch_all(connection, _COUNTS, {"kinds": list(get_args(SkippedKind))})
    return {str(row["kind"]): int(row["records"]) for row in rows}


async def _write(connection: Connection, statement: str, values: Mapping[str, object]) -> None:
    with suppress(WaybillError, psycopg.Error):
        # A savepoint where the caller is in a transaction, which must not fail with it.
        async with connection.transaction():
            await execute(connection, statement, values)


def _short(text: str, chars: int) -> str:
    """Return one line that Postgres accepts."""
    line = " ".join(text.replace("\x00", " ").encode("utf-8", "replace").decode().split())
    return shortened(line, chars)
