"""The table of deliveries in Prefect's UI: dead deliveries first, then recent ones.

It is written only when it has changed, so that a quiet day leaves one artifact and not a thousand. Each catalogue has
one: where another catalogue's has the usual key, the key ends with the catalogue's id.
"""

from __future__ import annotations

import json
from datetime import datetime

from prefect import get_client
from prefect.artifacts import Artifact, acreate_table_artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import Artifact as ArtifactRecord

from blocks.catalog import Catalog
from blocks.redaction import without_query
from blocks.runs.ownership import CATALOGUE_LABEL, catalogue_id
from blocks.runs.prefect_lists import unreadable_reason
from blocks.runtime.in_words import shortened
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


async def add_table(table: Table, summary: str, catalog: Catalog) -> None:
    """Add the table to the current flow run, unless the newest table is the same."""
    async with get_client() as client:
        key, newest, _ = await _newest(client, catalog)
    if newest is None or newest.data != json.dumps(table):
        await acreate_table_artifact(table=table, key=key, description=summary)


async def update_table(client: PrefectClient, catalog: Catalog) -> None:
    """Update the newest table, for a process without a flow run of its own."""
    table, summary = await read_table(catalog)
    key, newest, mark = await _newest(client, catalog)
    data = json.dumps(table)
    if newest is None:
        if table:
            new = ArtifactCreate(key=key, type="table", data=data, description=summary, metadata_=mark)
            await client.create_artifact(new)
    elif newest.data != data:
        await client.update_artifact(newest.id, ArtifactUpdate(data=data, description=summary, metadata_=mark))


async def _newest(client: PrefectClient, catalog: Catalog) -> tuple[str, ArtifactRecord | None, dict[str, str]]:
    """Return the key of the catalogue's table, the newest one if there is one, and what marks it as this catalogue's.

    A table without a mark is everyone's: a flow has added it, or an earlier version.
    """
    async with catalog.connection() as connection:
        catalogue = await catalogue_id(connection)
    mark, own_key = {CATALOGUE_LABEL: catalogue}, f"{ARTIFACT_KEY}-{catalogue}"
    found = await _read(client, ARTIFACT_KEY)
    if found is None or not found.metadata_ or found.metadata_.get(CATALOGUE_LABEL, catalogue) == catalogue:
        return ARTIFACT_KEY, found, mark
    return own_key, await _read(client, own_key), mark


async def _read(client: PrefectClient, key: str) -> ArtifactRecord | None:
    try:
        return await Artifact.aget(key, client=client)
    except Exception as error:
        if unreadable_reason(error) is None:
            raise
        return None  # what no client can read is replaced by a new one


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
    return shortened(line, _MAX_CELL_CHARS)


def _time(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")
