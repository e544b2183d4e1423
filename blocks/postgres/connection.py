"""Connect to Postgres, execute a statement, and translate psycopg's errors into ours, in one place.

Conditions that may pass (server down, connection dropped, deadlock, server full or shutting down) are
`CatalogUnavailable`, of which a full disk is `CatalogFull`; a wrong URL, password, database or schema is
`InvalidSettings`; everything else is `CatalogRefused`. Only SQLSTATE classes decide (PostgreSQL manual, appendix A),
never a message. Knows no table.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString, cast

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from blocks.errors import CatalogFull, CatalogRefused, CatalogUnavailable, InvalidSettings, WaybillError
from blocks.postgres.session import forget_libpq_variables, set_up_async_session, set_up_session
from blocks.postgres.tolerant_rows import UNLOADABLE, tolerant_rows

Row = dict[str, Any]
Connection = psycopg.AsyncConnection[Row]

# A server on the same network answers in milliseconds; one that takes ten seconds is not there. libpq's own limit is
# the kernel's, minutes.
CONNECT_TIMEOUT_SECONDS = 10

# Invalid authorization (28), unknown database (3D), unknown schema (3F), missing rights (42501) and missing relations
# or functions (42P01, 42883, 42704: not migrated, or an extension is missing): a person must act, waiting does not
# help.
_SETTINGS_CLASSES = ("28", "3D", "3F")
_SETTINGS_STATES = ("42501", "42P01", "42883", "42704")
# The server has ended a session that idled in a transaction, or a transaction that took too long (since PostgreSQL 17):
# psycopg files them under InternalError, because of their class.
_PASSING_STATES = ("25P03", "25P04")
# A session that answers so once answers so again, and a fresh one need not: it is read-only, as on a standby (25006);
# its prepared statement is gone (26000) or there already (42P05), or the two ends disagree about it (08P01), as behind
# a pooler; or the tables have changed since it was prepared (0A000 from there only: elsewhere a feature is missing; see
# ``findings/prepared_statement_stays_stale.sh``).
_STALE_STATES = ("25006", "26000", "42P05", "08P01")
_PREPARED_STATE, _PREPARED_ORIGIN = "0A000", "RevalidateCachedQuery"
# A firewall or a network that drops a connection closes nothing. These find out within a minute, where the kernel takes
# hours, and keep a connection that is idle from being dropped. They have no effect on a Unix socket.
_KEEPALIVES = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_DISK_FULL = "53100"
# "Program limit exceeded" (a tsvector over 1 MB, say) is an OperationalError in psycopg, and the same again next time.
_PROGRAM_LIMIT_CLASS = "54"


@contextmanager
def postgres_errors(action: str) -> Generator[None]:
    """Translate psycopg's errors inside the block; *action* says what failed and on which object ("ingest abc123").

    Raises `CatalogUnavailable`, `InvalidSettings` or `CatalogRefused`; all have the attribute `sqlstate` (or None), and
    `CatalogUnavailable` has `stale_session`: whether only a fresh connection can get another answer.
    """
    try:
        yield
    except psycopg.Error as exc:
        raise translated(exc, action) from exc


def translated(exc: psycopg.Error, action: str) -> WaybillError:
    """Return the error of ours that stands for *exc*. Only Postgres's own words about itself are passed on, never a
    value."""
    state = exc.sqlstate or ""
    context: dict[str, Any] = {"sqlstate": exc.sqlstate}
    reason = f"{type(exc).__name__}, SQLSTATE {state or 'unknown'}"
    if state[:2] in _SETTINGS_CLASSES or state in _SETTINGS_STATES:
        return InvalidSettings(
            f"cannot {action}: {reason}: {exc.diag.message_primary}; "
            "check WAYBILL_DATABASE_URL, the role's rights, and that the database was migrated",
            **context,
        )
    if state == _DISK_FULL:
        said = exc.diag.message_primary or reason
        return CatalogFull(
            f"cannot {action} now: the disk of Postgres is full ({said}); free some space there",
            stale_session=False,
            **context,
        )
    is_stale = state in _STALE_STATES or (state == _PREPARED_STATE and exc.diag.source_function == _PREPARED_ORIGIN)
    passing = (
        isinstance(exc, (psycopg.OperationalError, psycopg.InterfaceError)) or state in _PASSING_STATES or is_stale
    )
    if passing and state[:2] != _PROGRAM_LIMIT_CLASS:
        # Only the first line of the server's message: later lines may quote the row. Without one, libpq's message names
        # host, port and database.
        said = exc.diag.message_primary or str(exc).strip() or reason
        return CatalogUnavailable(f"cannot {action} now: {said}; is Postgres up?", stale_session=is_stale, **context)
    return CatalogRefused(f"cannot {action}: Postgres refuses it ({reason})", **context)


def connect(
    database_url: str, *, autocommit: bool = False, longest_seconds: float = CONNECT_TIMEOUT_SECONDS
) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a new connection to *database_url* (a ``postgresql://`` URL or a libpq connection string).

    Raises `CatalogUnavailable` after *longest_seconds*, and `InvalidSettings` for a URL that cannot be read.
    """
    check_url(database_url)
    arguments = connect_arguments(database_url, longest_seconds=longest_seconds)
    with postgres_errors("connect to Postgres"):
        connection = psycopg.connect(database_url, autocommit=True, **arguments, application_name="waybill")
        try:
            set_up_session(connection, database_url)
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
        return connection


async def connect_async(database_url: str, *, autocommit: bool = False) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """Return the same as `connect`, for an event loop."""
    check_url(database_url)
    with postgres_errors("connect to Postgres"):
        connection = await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, **connect_arguments(database_url), application_name="waybill"
        )
        try:
            await set_up_async_session(connection, database_url)
            await connection.set_autocommit(autocommit)
        except BaseException:
            await connection.close()
            raise
        return connection


def check_url(database_url: str) -> None:
    """Raise `InvalidSettings` when libpq cannot read *database_url*. It is not repeated: it holds a password.

    Call it before every connection: it also removes libpq's variables, which would change where a URL leads.
    """
    forget_libpq_variables()
    try:
        conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # `from None`: libpq's message quotes the string, and with it the password.
        raise InvalidSettings(
            "the database URL is not one that libpq reads; give it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE "
            "or, for a Unix socket, postgresql://USER@/DATABASE?host=/DIRECTORY"
        ) from None


def is_missing_extension(exc: psycopg.Error) -> bool:
    """Return whether the server has no such extension on its disk (58P01 before PostgreSQL 15, 0A000 since)."""
    return isinstance(exc, (pg.FeatureNotSupported, pg.UndefinedFile))


def connect_arguments(database_url: str, *, longest_seconds: float = CONNECT_TIMEOUT_SECONDS) -> dict[str, Any]:
    """Return what libpq is given in addition to the URL, except what the URL sets itself.

    Bounds opening a connection by *longest_seconds*, at most `CONNECT_TIMEOUT_SECONDS`. Of several hosts, the one is
    used that takes writes.
    """
    given = conninfo_to_dict(database_url)
    arguments: dict[str, Any] = {
        # libpq counts whole seconds, and reads less than two as two.
        "connect_timeout": min(CONNECT_TIMEOUT_SECONDS, max(2, round(longest_seconds))),
        **_KEEPALIVES,
    }
    if "," in str(given.get("host") or given.get("hostaddr") or ""):
        arguments["target_session_attrs"] = "read-write"
    return {name: value for name, value in arguments.items() if name not in given}


async def execute(connection: Connection, statement: str, values: Mapping[str, Any]) -> psycopg.AsyncCursor[Row]:
    """Execute one statement with its *values*. Raises `CatalogUnavailable` and `CatalogRefused`."""
    # Statements are constants; values are always passed as parameters.
    try:
        with postgres_errors("use the catalogue"):
            return await connection.execute(cast("LiteralString", statement), values)
    except UnicodeEncodeError as exc:
        raise CatalogRefused("a name or path holds a character that is no valid Unicode (a lone surrogate)") from exc


async def fetch_all(connection: Connection, statement: str, values: Mapping[str, Any]) -> list[Row]:
    """Return all rows of a statement. Raises like `execute`."""
    cursor = await execute(connection, statement, values)
    try:
        return await cursor.fetchall()
    except UNLOADABLE:
        return tolerant_rows(cursor)


async def fetch_optional(connection: Connection, statement: str, values: Mapping[str, Any]) -> Row | None:
    """Return the first row of a statement, None without one. Raises like `execute`."""
    cursor = await execute(connection, statement, values)
    try:
        return await cursor.fetchone()
    except UNLOADABLE:
        return next(iter(tolerant_rows(cursor)), None)


async def fetch_row(connection: Connection, statement: str, values: Mapping[str, Any]) -> Row:
    """Return the row of a statement that always has one. Raises like `execute`."""
    row = await fetch_optional(connection, statement, values)
    if row is None:
        raise AssertionError("unreachable: the statement always has a row")
    return row


@asynccontextmanager
async def single_connection(database_url: str) -> AsyncGenerator[Connection]:
    """Open a connection without a pool; each statement commits. Raises `CatalogUnavailable` and `InvalidSettings`."""
    connection = cast("Connection", await connect_async(database_url, autocommit=True))
    connection.row_factory = dict_row
    async with connection:
        with postgres_errors("use the catalogue"):
            yield connection
