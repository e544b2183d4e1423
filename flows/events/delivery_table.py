"""The deliveries as a table in Prefect's UI: what went out lately, and what went out for nothing.

Owns the table only. It is written when it has changed, so that a quiet day leaves one artifact and not a thousand.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from prefect.artifacts import Artifact, acreate_table_artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from blocks.catalog import Catalog
from blocks.webhooks.outbox import DeliveryRecord, delivery_log

ARTIFACT_KEY = "webhook-deliveries"
# A table that a person reads without paging; `waybill webhooks deliveries` has all of them.
_DEAD_ROWS = 50
_RECENT_ROWS = 50
_MAX_CELL_CHARS = 200

_SHOWN_STATES = {"pending": "waiting", "delivered": "delivered", "dead": "✖ DEAD"}

Table = list[dict[str, str]]


async def read_table(catalog: Catalog) -> tuple[Table, str]:
    """The rows, dead deliveries first and then the newest, and a sentence on them."""
    async with catalog.connection() as connection:
        dead = (await delivery_log.list_deliveries(connection, state="dead", limit=_DEAD_ROWS)).deliveries
        recent = (await delivery_log.list_deliveries(connection, limit=_RECENT_ROWS)).deliveries
        counts = await delivery_log.delivery_counts(connection)
    told = ", ".join(f"{counts[state]['count']} {state}" for state in _SHOWN_STATES if state in counts)
    return _rows(dead, recent), told or "nothing was delivered yet"


async def add_table(table: Table, told: str) -> None:
    """Add the table to the flow run that asks, unless the newest one says the same."""
    if not await _is_shown(table):
        await acreate_table_artifact(table=table, key=ARTIFACT_KEY, description=told)


async def keep_table(client: PrefectClient, table: Table, told: str) -> None:
    """Keep one table up to date, for who looks every minute and has no flow run."""
    newest = await Artifact.aget(ARTIFACT_KEY, client=client)
    if newest is None:
        if table:
            made = ArtifactCreate(key=ARTIFACT_KEY, type="table", data=json.dumps(table), description=told)
            await client.create_artifact(made)
    elif newest.data != json.dumps(table):
        await client.update_artifact(newest.id, ArtifactUpdate(data=json.dumps(table), description=told))


async def _is_shown(table: Table) -> bool:
    newest = await Artifact.aget(ARTIFACT_KEY)
    return newest is not None and newest.data == json.dumps(table)


def _rows(dead: Sequence[DeliveryRecord], recent: Sequence[DeliveryRecord]) -> Table:
    by_id = {record.delivery_id: record for record in (*dead, *recent)}
    return [_row(record) for record in by_id.values()]


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


def without_query(url: str) -> str:
    """*url* as it may be shown to everybody who sees the UI: a query often is a key."""
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    except ValueError:
        return "(no URL)"


def _cell(text: str) -> str:
    """One line of plain text: what a receiver answered must not become a link in somebody's browser."""
    line = " ".join(text.split()).replace("](", "] (").replace("<", "‹")
    return line if len(line) <= _MAX_CELL_CHARS else f"{line[: _MAX_CELL_CHARS - 1]}…"


def _time(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
