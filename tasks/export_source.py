"""Open what a job exports: a table of the catalogue, a query, or a file.

SQL from outside never runs as the catalogue's own account: a query of the catalogue runs as a role that reads views
alone (`blocks.exports.query_role`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from blocks.errors import InvalidOptions
from blocks.exports.place import check_place
from blocks.exports.query_role import catalog_query_url
from blocks.exports.request import CATALOG, ExportRequest
from blocks.postgres import connect
from blocks.redaction import without_password, without_signature
from blocks.runtime.threads import StopCheck
from blocks.settings import Settings

if TYPE_CHECKING:
    from tasks.export import RecordSource

# Counting is only for the progress: a table that takes longer is exported without it.
_COUNT_SECONDS = 5


@dataclass(frozen=True)
class OpenSource:
    """An open source and the number of its rows, None where that is not known."""

    records: RecordSource
    rows_expected: int | None = None


def named_database(settings: Settings, name: str) -> str:
    """Return the URL of the connection *name*. Raises `InvalidOptions` where the settings have none."""
    if (url := settings.export_databases.get(name)) is not None:
        return url.reveal()
    known = ", ".join(sorted({CATALOG, *settings.export_databases}))
    raise InvalidOptions(f"the setting export_databases has no connection {name!r}, only {known}; add it to that table")


def check_request(settings: Settings, request: ExportRequest) -> None:
    """Raise `InvalidOptions` for a form that nothing writes, or a connection that the settings do not have.

    Raises `InvalidSettings` where finished files have no usable place.
    """
    from tasks.export import extension

    extension(request.format, request.compression)
    check_place(settings)
    if request.database not in (None, CATALOG) and not request.names_url:
        named_database(settings, str(request.database))


def open_source(
    request: ExportRequest, settings: Settings, copied_input: Path | None, check: StopCheck, *, session: str
) -> OpenSource:
    """Open the source of *request*, `runs` excepted; *copied_input* is the local copy of its input. Blocks.

    *check* ends a query that is under way, also later, while its rows are read. *session* is its name in the server.

    Raises `InvalidSettings`, `InvalidOptions`, `CatalogUnavailable`, and what `tasks.export` raises.
    """
    from tasks.export import open_file, open_query
    from tasks.export.files import FileOptions

    if copied_input is not None:
        options = FileOptions(shown=without_signature(without_password(request.input or "")))
        records = open_file(str(copied_input), options)
        return OpenSource(records, records.rows_expected)
    if request.query is not None:
        url, limit = _query_url(request, settings), _time_limit(settings)
        return OpenSource(open_query(url, request.query, time_limit=limit, check=check, session=session))
    from tasks.export.tables import TABLES

    statement = TABLES[request.export_type]
    return OpenSource(open_query(settings.required_database_url, statement), count_rows(settings, statement))


def count_rows(settings: Settings, statement: str, *, most: int | None = None) -> int | None:
    """Return the rows of a table's *statement*, counted up to *most* if given; None if that takes too long. Blocks."""
    limited = statement if most is None else f"select from ({statement}) as wanted limit {most}"
    with connect(settings.required_database_url) as connection:
        try:
            connection.execute(f"set local statement_timeout = '{_COUNT_SECONDS}s'".encode())
            row = connection.execute(f"select count(*) from ({limited}) as counted".encode()).fetchone()  # noqa: S608 - ours
        except psycopg.errors.QueryCanceled:
            return None
    return None if row is None else int(row[0])


async def is_small_table(settings: Settings, request: ExportRequest) -> bool:
    """Return whether *request* is a table of the catalogue with few rows (`export_now_rows`)."""
    if not request.is_table or request.export_type == "runs":
        return False
    most = settings.export_now_rows

    def count() -> int | None:
        from tasks.export.tables import TABLES

        return count_rows(settings, TABLES[request.export_type], most=most + 1)

    counted = await asyncio.to_thread(count)
    return counted is not None and counted <= most


def _time_limit(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.export_query_seconds)


def _query_url(request: ExportRequest, settings: Settings) -> str:
    database = request.database or CATALOG
    if request.names_url:
        return database
    if database == CATALOG and CATALOG not in settings.export_databases:
        return catalog_query_url(settings.required_database_url, seconds=settings.export_query_seconds)
    return named_database(settings, database)
