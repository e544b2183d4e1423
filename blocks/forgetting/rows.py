"""Take a document out of the catalogue's rows: all in one transaction, so that it is there whole or not at all.

What has names in one of its columns only is freed of them by `text_columns`, whichever table it is.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Self, cast
from uuid import UUID

import orjson

from blocks.catalog import Connection
from blocks.forgetting import statements
from blocks.forgetting.document import INDEXED, KnownDocument
from blocks.forgetting.event_bodies import without_document
from blocks.forgetting.names import Names
from blocks.forgetting.prefect_database import Others
from blocks.forgetting.text_columns import Subject, ids_text, redact_tables
from blocks.forgetting.traces import Traces
from blocks.postgres import Row, execute, fetch_all, fetch_optional
from blocks.transfers.ending import end_with_event
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox.event import MAX_BODY_BYTES

# Freed of the document by statements of their own, or without any text of a document.
OWN_STATEMENTS = frozenset({
    "alembic_version", "api_keys", "artifacts", "forgettings", "indexed_chunks", "indexed_documents",
    "indexed_entities", "indexed_facts", "indexed_keywords", "run_outputs", "webhook_endpoints", "webhook_events",
    "webhook_secrets", "workers", "worker_codes",
})  # fmt: skip

# Written by people, for what they want: a watch of a source goes on to look at it. Reported, not changed.
WRITTEN_BY_PEOPLE = frozenset({"watches"})
# In front of the table, where rows are counted that have lost a name.
ROWS_OF = "rows of "


@dataclass(frozen=True, kw_only=True)
class Forgetting:
    """A document that is being forgotten: what has still to be looked for, and what has gone so far."""

    forgetting_id: UUID
    sha256: str
    contents: list[str]
    file_ids: list[UUID]
    run_ids: list[UUID]
    names: Names
    traces: Traces
    counts: Mapping[str, int]
    began_at: datetime

    @classmethod
    def of(cls, row: Row) -> Self:
        given: dict[str, Any] = {
            **row,
            "names": Names.from_json(row["names"]),
            "traces": Traces.from_bytes(row["traces"] or b""),
        }
        return cls(**given)


async def under_way(connection: Connection, sha256: str) -> Forgetting | None:
    """Return the forgetting that a process has begun and not ended."""
    row = await fetch_optional(connection, statements.UNDER_WAY, {"sha256": sha256})
    return Forgetting.of(row) if row else None


async def begin(
    connection: Connection,
    forgetting_id: UUID,
    known: KnownDocument,
    *,
    names: Names,
    traces: Traces,
    by: str,
    links: EventLinks,
) -> Forgetting:
    """Record what is to be looked for, and take the document out of all rows. Within the caller's transaction."""
    counts = await _erase(connection, known, names, traces, links)
    values = {
        "forgetting_id": forgetting_id,
        "sha256": known.sha256,
        "requested_by": by,
        "contents": known.contents,
        "file_ids": known.file_ids,
        "run_ids": known.run_ids,
        "names": json.dumps(names.as_json()),
        "traces": traces.as_bytes(),
        "counts": json.dumps(counts),
    }
    cursor = await execute(connection, statements.BEGIN, values)
    return Forgetting.of(cast("Row", await cursor.fetchone()))


async def others_of_runs(connection: Connection, forgetting: Forgetting) -> dict[UUID, Sequence[Others]]:
    """Return what the runs of the document delivered of other documents."""
    values = {"run_ids": forgetting.run_ids, "contents": forgetting.contents}
    found: dict[UUID, list[Others]] = {}
    for row in await fetch_all(connection, statements.OTHERS, values):
        run_id = row.pop("run_id")
        found.setdefault(run_id, []).append(Others(**row))
    return cast("dict[UUID, Sequence[Others]]", found)


async def _erase(
    connection: Connection, known: KnownDocument, names: Names, traces: Traces, links: EventLinks
) -> dict[str, int]:
    values = {
        "contents": known.contents,
        "file_ids": known.file_ids,
        "instead": names.instead,
        "patterns": [f"%{one}%" for one in (*known.contents, *map(str, known.file_ids))],
    }
    counts: Counter[str] = Counter({
        "files": len(known.stored),
        "bytes": sum(row["size"] or 0 for row in known.stored),
        **{
            name: sum(int(row[name]) for row in known.indexed)
            for name in INDEXED
        },
    })  # fmt: skip
    counts["transfers"] = await _end_transfers(connection, values, links)
    counts |= await _reduce_events(connection, known, names, traces)
    await execute(connection, statements.ENTOMB, values)
    counts["run_outputs"] = (await execute(connection, statements.REMOVE_OUTPUTS, values)).rowcount
    await execute(connection, statements.REMOVE_INDEXED, values)
    jobs = {"patterns": [f"%{one}%" for one in known.contents]}
    counts["remote_jobs"] = (await execute(connection, statements.REMOVE_JOBS, jobs)).rowcount
    counts["requests"] = (await execute(connection, statements.REMOVE_REQUESTS, values)).rowcount
    subject = Subject(names=names, ids=ids_text([*known.file_ids, *known.run_ids]))
    redacted = await redact_tables(connection, subject, without=OWN_STATEMENTS | WRITTEN_BY_PEOPLE)
    counts |= Counter({f"{ROWS_OF}{table}": count for table, count in redacted.items()})
    return dict(counts)


async def _end_transfers(connection: Connection, values: Mapping[str, Any], links: EventLinks) -> int:
    rows = await fetch_all(connection, statements.OPEN_TRANSFERS, values)
    for row in rows:
        await end_with_event(
            connection, str(row["transfer_id"]), "cancelled", links, error="its document was forgotten"
        )
    await execute(connection, statements.EMPTY_TRANSFERS, values)
    return len(rows)


async def _reduce_events(connection: Connection, known: KnownDocument, names: Names, traces: Traces) -> Counter[str]:
    """Take the document out of recorded events; what is about it alone and not delivered yet is sent no more."""
    file_ids, runs = {str(one) for one in known.file_ids}, set(known.run_ids)
    alone = names.patterns(about=False)
    values = {
        "patterns": [*alone, *(f"%{one}%" for one in (*known.contents, *file_ids))],
        "names": alone,
        "about": names.patterns(about=True),
        "run_ids": known.run_ids,
    }
    changed: list[str] = []
    about: list[str] = []
    for row in await fetch_all(connection, statements.EVENTS, values):
        of_run = row["task_id"] in runs
        without = partial(
            without_document,
            names=names,
            traces=traces,
            contents=known.contents,
            file_ids=file_ids,
            of_run=of_run,
        )
        whole, is_about = without(orjson.loads(row["whole_body"] or row["body"]))
        source = names.instead if is_about else names.redacted_value(row["source_file"], about=of_run)
        new = {"event_id": row["event_id"], "body": whole, "whole_body": None, "source_file": source}
        if len(whole) > MAX_BODY_BYTES:
            new |= {"body": without(orjson.loads(row["body"]))[0], "whole_body": whole}
        await execute(connection, statements.PUT_EVENT, new)
        changed.append(row["event_id"])
        about += [row["event_id"]] if is_about else []
    withdrawn = await execute(connection, statements.WITHDRAW, {"event_ids": about})
    answers = await execute(connection, statements.EMPTY_ATTEMPTS, {"event_ids": changed, "run_ids": known.run_ids})
    return Counter(events=len(changed), deliveries_withdrawn=withdrawn.rowcount, answers=answers.rowcount)
