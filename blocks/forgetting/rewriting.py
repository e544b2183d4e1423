"""Let the bytes of removed rows go from the files of Postgres.

A removed or changed row stays in its file until it is overwritten, also after a vacuum: that only makes room. So tables
that were touched are rewritten (``vacuum full``), which locks a table for as long as it takes. Large tables, and those
that are in use for too long, are vacuumed alone, and the certificate says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from psycopg.sql import SQL, Composed, Identifier

from blocks.errors import WaybillError
from blocks.postgres import fetch_all, single_connection

# A table of 32 MiB with its indexes is rewritten in some seconds; the vector index takes most of it.
REWRITE_UP_TO_BYTES = 32 * 1024 * 1024
_LOCK_TIMEOUT = "set lock_timeout = '10s'"
_NO_TIMEOUT = "set statement_timeout = 0"
_SIZES = """
    select relname::text as name, pg_total_relation_size(c.oid)::bigint as bytes
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname = 'public' and c.relkind in ('r', 'p') and c.relname = any(%(tables)s)
     order by bytes, name
"""
# What the planner remembers of the most common values and of their range.
_STATISTICS = SQL("vacuum (full) pg_catalog.pg_statistic")


@dataclass(kw_only=True)
class Rewritten:
    """Tables whose files hold nothing of removed rows any more, and those whose files may, with the reason."""

    tables: list[str] = field(default_factory=list[str])
    not_rewritten: dict[str, str] = field(default_factory=dict[str, str])


async def rewrite_tables(database_url: str, tables: Collection[str], *, up_to: int = REWRITE_UP_TO_BYTES) -> Rewritten:
    """Rewrite those of *tables* that have *up_to* so many bytes, vacuum the others; also what the planner remembers."""
    done = Rewritten()
    async with single_connection(database_url) as connection:
        sizes = await fetch_all(connection, _SIZES, {"tables": sorted(tables)})
    for row in sizes:
        name, size = str(row["name"]), int(row["bytes"])
        if size > up_to:
            done.not_rewritten[name] = f"it has {size // 2**20} MiB; 'vacuum full {name}' rewrites it"
        why = done.not_rewritten.get(name) or await _vacuum(
            database_url, SQL("vacuum (full, analyze) {}").format(Identifier(name))
        )
        if why is None:
            done.tables.append(name)
            continue
        done.not_rewritten[name] = why
        await _vacuum(database_url, SQL("vacuum (analyze) {}").format(Identifier(name)))
    if sizes and (why := await _vacuum(database_url, _STATISTICS)) is not None:
        done.not_rewritten["pg_statistic"] = why
    return done


async def _vacuum(database_url: str, statement: SQL | Composed) -> str | None:
    """Execute *statement* on a connection of its own; return why it could not be done."""
    try:
        async with single_connection(database_url) as connection:
            await connection.execute(_NO_TIMEOUT)
            await connection.execute(_LOCK_TIMEOUT)
            await connection.execute(statement)
    except WaybillError as error:
        return error.message
    return None
