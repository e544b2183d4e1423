"""The id of a catalogue, and the label by which a run of Prefect says whose it is. Imports no Prefect."""

from __future__ import annotations

import hashlib

from blocks.catalog import Connection
from blocks.postgres import fetch_row
from blocks.runs.home_id import ID_CHARS

# The label of a run that has begun.
CATALOGUE_LABEL = "waybill.catalogue"


async def catalogue_id(connection: Connection) -> str:
    """Return the id of the connected catalogue: it stays when the database moves with its cluster."""
    row = await fetch_row(
        connection,
        "select s.system_identifier::text || '/' || d.oid::text as id from pg_control_system() s, pg_database d "
        "where d.datname = current_database()",
        {},
    )
    return hashlib.sha256(str(row["id"]).encode()).hexdigest()[:ID_CHARS]
