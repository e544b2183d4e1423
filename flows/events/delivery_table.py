"""The table of deliveries in Prefect's UI: dead deliveries first, then recent ones.

It is written only when it has changed, so that a quiet day leaves one artifact and not a thousand.
"""

from __future__ import annotations

import json
from datetime import datetime

from prefect.artifacts import Artifact, acreate_table_artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from blocks.catalog import Catalog
from blocks.redaction import without_query
from blocks.runs.prefect_lists import unreadable_reason
from blocks.webhooks.outbox import DeliveryRecord, delivery_log

ARTIFACT_KEY = "webhook-deliveries"
# Readable without paging; `waybill webhooks deliveries` lists all of them.
_DEAD_ROWS = 50
_RECENT_ROWS = 50
_MAX_CELL_CHARS = 200

_SHOWN_STATES = {"pending": "waiting", "delivered": "delivered", "dead": "✖ DEAD"}

Table = list[dict[str, str]]


async def read_table(catalog: Catalog) -> tuple[Table, str]:
    """Return the rows, and one line with the counts by state."""
    async with catalog.connection() as connection:
        dead = (await delivery_log.list_deliveries(connection, state="dead", limit=_DEAD_ROWS)).deliveries
        recent = (await delivery_log.list_deliveries(connection, limit=_RECENT_ROWS)).deliveries
        counts = await delivery_log.delivery_counts(connection)
    summary = ", ".join(f"{counts[state]['count']} {state}" for state in _SHOWN_STATES if state in counts)
    by_id = {record.delivery_id: record for record in (*dead, *recent)}
    return [_row(record) for record in by_id.values()], summary or "nothing was delivered yet"


async def add_table(table: Table, summary: str) -> None:
    """Add the table to the current flow run, unless the newest table is the same."""
    newest = await Artifact.aget(ARTIFACT_KEY)
    if newest is None or newest.data != json.dumps(table):
        await acreate_table_artifact(table=table, key=ARTIFACT_KEY, description=summary)


async def update_table(client: PrefectClient, catalog: Catalog) -> None:
    """Update the newest table, for a process without a flow run of its own."""
    table, summary = await read_table(catalog)
    try:
        newest = await Artifact.aget(ARTIFACT_KEY, client=client)
    except Exception as error:
        if unreadable_reason(error) is None:
            raise
        newest = None  # what no client can read is replaced by a new one
    if newest is None:
        if table:
            new = ArtifactCreate(key=ARTIFACT_KEY, type="table", data=json.dumps(table), description=summary)
            await client.create_artifact(new)
    elif newest.data != json.dumps(table):
        await client.update_artifact(newest.id, ArtifactUpdate(data=json.dumps(table), description=summary))


def _row(record: DeliveryRecord) -> dict[str, str]:
    return {
        "state": _SHOWN_STATES[record.state],
        "event": record.event_type,
        "endpoint": _cell(without_query(record.url)),
        "attempts": str(record.attempts),
        "status": str(record.last_status or ""),
        "error": _cell(record.last_error or ""),
        "created": _time(record.created_at),
        "next attempt": _time(record.due_at) if record.due_at else "",
        "run": str(record.task_id or ""),
        "delivery": str(record.delivery_id),
    }


def _cell(text: str) -> str:
    """Return one line of plain text: what a receiver answered must not become a link or markup in a browser."""
    line = " ".join(text.split()).replace("](", "] (").replace("<", "‹")
    return line if len(line) <= _MAX_CELL_CHARS else f"{line[: _MAX_CELL_CHARS - 1]}…"


def _time(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
