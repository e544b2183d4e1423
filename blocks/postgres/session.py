"""What every session of ours sets for itself, whatever the server, the role, the database or the environment has set.

Values arrive as text, so a date style or byte format that psycopg does not read would break every call; a time limit
or a read-only default that the role has for other programs would break long runs. Refuses libpq's `PG*`
variables: the database URL alone says where to connect, and how.
"""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks.settings import drop_from_environment

# What the URL's own ``options`` name is left as it is there.
SESSION_SETTINGS = {
    # How values are written as text.
    "client_encoding": "UTF8",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # How statements are read.
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    # The time limits are Waybill's own: a migration or a check of all files may take an hour.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    # Row locks and advisory locks are chosen for this level; a stricter one fails transactions that work.
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
}
# The first server version (`server_version`) that knows a setting that others do not.
_SINCE = {"idle_session_timeout": 140_000, "transaction_timeout": 170_000}

# The schema of the tables comes first where they are in "public", or where the session would have none. Tables that
# a role's own path has put elsewhere are still found, and so are extensions in a schema of their own.
_SEARCH_PATH = """
select set_config('search_path', concat_ws(', ', 'public', nullif(current_setting('search_path'), '')), false)
 where to_regclass('public.waybill_schema_version') is not null or current_schema() is null
"""

# A role or a database that is read-only by default is so for other programs. A whole server that is read-only (a
# standby, or one that an administrator has stopped from taking writes) stays so, and the pool looks for another one.
_READ_WRITE = """
select set_config('default_transaction_read_only', 'off', false)
 where exists (select from pg_db_role_setting
                where setdatabase in (0, (select oid from pg_database where datname = current_database()))
                  and setrole in (0, (select oid from pg_roles where rolname = session_user))
                  and array_to_string(setconfig, ',') ~ 'default_transaction_read_only=')
"""


def session_statement(database_url: str, server_version: int) -> bytes:
    """Return one simple query that sets everything; it must be executed outside of a transaction."""
    options = str(conninfo_to_dict(database_url).get("options") or "").lower().replace("-", "_")
    statements = [
        f"set {name} = '{value}'"
        for name, value in SESSION_SETTINGS.items()
        if name not in options and server_version >= _SINCE.get(name, 0)
    ]
    if "default_transaction_read_only" not in options:
        statements.append(_READ_WRITE)
    if "search_path" not in options:
        statements.append(_SEARCH_PATH)
    return "; ".join(statements).encode()


def set_up_session(connection: psycopg.Connection[tuple[object, ...]], database_url: str) -> None:
    """Set what a session needs, on a connection in autocommit mode. Raises `psycopg.Error`."""
    connection.execute(session_statement(database_url, connection.info.server_version))


async def set_up_async_session(connection: psycopg.AsyncConnection[object], database_url: str) -> None:
    """Do the same as `set_up_session`, for an event loop."""
    await connection.execute(session_statement(database_url, connection.info.server_version))


def forget_libpq_variables() -> None:
    """Remove libpq's variables from the environment of this process: libpq reads them at each connection."""
    drop_from_environment("PG")
