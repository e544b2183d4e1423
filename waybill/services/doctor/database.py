"""Checks of Postgres: that it can be written to and has room, its schema, indexes and clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from blocks.catalog import Catalog
from blocks.catalog.migrate import known_versions, newest_version
from blocks.postgres import fetch_all, fetch_optional, fetch_row
from blocks.runtime.clock import Clock, utc_now
from waybill.services.doctor.findings import Findings

# Postgres warns at 40 million transactions before the end of its ids, and refuses writes at three million before it.
_OLD_TRANSACTIONS, _LAST_TRANSACTIONS = 1_000_000_000, 2_000_000_000
_NEARLY_ALL = 0.8
# Certificates, links and API keys expire by the clock of the gateway, files by that of Postgres.
_CLOCKS_DIFFER, _CLOCKS_WRONG = timedelta(seconds=5), timedelta(minutes=1)

_SERVER = """
    select pg_is_in_recovery() as recovering, current_setting('default_transaction_read_only') = 'on' as read_only,
           current_setting('max_connections')::int as places,
           (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
           (select max(age(datfrozenxid)) from pg_database) as transactions,
           (select count(*) from pg_prepared_xacts) as prepared,
           pg_database_size(current_database()) as bytes, current_setting('server_version') as version
"""
_IDLE = """
    select pid || ' ' || coalesce(nullif(application_name, ''), 'unnamed') as session from pg_stat_activity
     where state like 'idle in transaction%%' and state_change < clock_timestamp() - interval '10 minutes'
"""
_INVALID = """
    select indexrelid::regclass::text as name from pg_index where not (indisvalid and indisready and indislive)
"""
_SORTED_OTHERWISE = """
    select c.collname::text as name from pg_collation c
     where c.collversion <> pg_collation_actual_version(c.oid)
       and exists (select 1 from pg_index i where c.oid = any(i.indcollation::oid[]))
    union all
    select datname::text from pg_database
     where datname = current_database() and datcollversion <> pg_database_collation_actual_version(oid)
"""
_VERSION_TABLE = "select to_regclass('waybill_schema_version') is not null as exists"
_VERSION = "select version_num::text as version from waybill_schema_version"
_SKIPPED = """
    select kind || ' ' || id || ': ' || reason as record from skipped_records
     where last_seen > clock_timestamp() - interval '1 hour' order by kind, id
"""
_NOW = "select clock_timestamp() as now"
_FROM_THE_FUTURE = """
    select (select count(*) from artifacts where created_at > clock_timestamp() + interval '1 minute') as files,
           (select count(*) from webhook_events where recorded_at > clock_timestamp() + interval '1 minute') as events
"""


async def check_database(catalog: Catalog, found: Findings, *, clock: Clock = utc_now) -> None:
    """Examine the server and this database."""
    with found.examining("database"):
        async with catalog.connection() as connection:
            server = await fetch_row(connection, _SERVER, {})
            idle = [row["session"] for row in await fetch_all(connection, _IDLE, {})]
        found.counts["postgres"] = {name: server[name] for name in ("version", "connections", "places", "bytes")}
        for status, message, remedy in server_problems(server):
            (found.problem if status == "problem" else found.warning)("database", message, remedy)
        if idle:
            remedy = "they keep old rows from being removed: end those sessions"
            found.warning("database", "sessions have left a transaction open for ten minutes", remedy, idle)
    with found.examining("schema"):
        async with catalog.connection() as connection:
            is_there = (await fetch_row(connection, _VERSION_TABLE, {}))["exists"]
            row = await fetch_optional(connection, _VERSION, {}) if is_there else None
        _report_version(row["version"] if row else None, found)
    with found.examining("indexes"):
        async with catalog.connection() as connection:
            invalid = [row["name"] for row in await fetch_all(connection, _INVALID, {})]
            otherwise = [row["name"] for row in await fetch_all(connection, _SORTED_OTHERWISE, {})]
        if invalid:
            found.problem("indexes", "indexes are invalid", "make them again: reindex index concurrently NAME", invalid)
        if otherwise:
            remedy = "reindex database, then: alter database NAME refresh collation version"
            found.problem("indexes", "texts were sorted by another version of their collation", remedy, otherwise)
    with found.examining("skipped-records"):
        async with catalog.connection() as connection:
            skipped = [row["record"] for row in await fetch_all(connection, _SKIPPED, {})]
        if skipped:
            remedy = "mend or remove each; it is read again by itself"
            found.warning("skipped-records", "records cannot be read and were left out", remedy, skipped)
    with found.examining("clock"):
        async with catalog.connection() as connection:
            before = clock()
            theirs: datetime = (await fetch_row(connection, _NOW, {}))["now"]
            after = clock()
            future = await fetch_row(connection, _FROM_THE_FUTURE, {})
        # Postgres looked at its clock at some moment in between, so the nearest one counts.
        _report_clock(min(max(theirs, before), after) - theirs, future, found)


def server_problems(server: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return status, message and remedy of what is wrong with the server; pure."""
    problems: list[tuple[str, str, str]] = []
    if server["recovering"]:
        problems.append(("problem", "the server is a standby, so nothing can be stored", "name the primary server"))
    if server["read_only"]:
        remedy = "unset default_transaction_read_only for the server, the database and the role"
        problems.append(("problem", "transactions are read-only by default", remedy))
    if server["connections"] > _NEARLY_ALL * server["places"]:
        message = f"{server['connections']} of {server['places']} connections are taken"
        problems.append(("warning", message, "raise max_connections, or run fewer runs and gateways"))
    if server["transactions"] > _OLD_TRANSACTIONS:
        status = "problem" if server["transactions"] > _LAST_TRANSACTIONS else "warning"
        message = f"the oldest row is {server['transactions']:,} transactions old; Postgres stops at 2.1 billion"
        problems.append((status, message, "end old sessions and replication slots, then: vacuum freeze"))
    if server["prepared"]:
        message = f"{server['prepared']} prepared transactions are open, and Waybill makes none"
        problems.append(("warning", message, "commit prepared or rollback prepared: pg_prepared_xacts lists them"))
    return problems


def _report_version(version: str | None, found: Findings) -> None:
    found.counts["schema"] = version
    if version == newest_version():
        return
    if version is None or version in known_versions():
        message = f"the schema is {version or 'missing'}, and this version of Waybill uses {newest_version()}"
        found.problem("schema", message, "the next command that writes migrates it: waybill stats")
    else:
        message = f"a newer Waybill has migrated the database to {version}; this one knows {newest_version()}"
        found.problem("schema", message, "use the newer Waybill")


def _report_clock(difference: timedelta, future: dict[str, Any], found: Findings) -> None:
    seconds = difference.total_seconds()
    if abs(difference) > _CLOCKS_DIFFER:
        message = f"this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} Postgres'"
        report = found.problem if abs(difference) > _CLOCKS_WRONG else found.warning
        report("clock", message, "let both follow the same time servers")
    if future["files"] or future["events"]:
        message = f"{future['files']} files and {future['events']} events are from the future"
        found.warning("clock", message, "the clock of Postgres was ahead; files expire late by as much")
