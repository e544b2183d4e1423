"""Migrate a Postgres database to the schema of this version.

Owns the extensions, the order of the migrations (raw SQL in ``migrations/versions/NNNN_name.py``), and the lock that
lets only one process run them. A database that a newer version has migrated is used if that version allows it, as
during an upgrade of several machines, and refused otherwise.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg.sql import SQL, Identifier

from blocks.errors import InvalidSettings
from blocks.postgres import connect, is_missing_extension, postgres_errors

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "waybill_schema_version"
# Code whose newest migration is this one, or a later one, works on a database that this version has migrated: what came
# after it only adds. A migration that takes something away, or means something else by it, sets this to its own number.
USABLE_SINCE = "0029"
# pgvector stores the embeddings; pg_trgm finds titles and file names by a part of them.
EXTENSIONS = ("vector", "pg_trgm")

_USABLE_SINCE = "usable since "

# Any fixed number does; it only has to be one that no other program takes for its advisory lock ("waybill" in ASCII).
LOCK_KEY = 0x77617962696C6C
# Another process that migrates needs a second, on a large database perhaps minutes; after this long it hangs.
_LOCK_WAIT_SECONDS = 300


def migrate(database_url: str) -> None:
    """Upgrade the database to the newest schema; takes a few milliseconds when there is nothing to do.

    One transaction under an advisory lock: processes that start together wait for the first one and then find nothing
    to do, and a failure leaves the database unchanged. Raises `InvalidSettings` when an extension or a right is missing
    or the schema is newer than this version, and `CatalogUnavailable`.
    """
    with connect(database_url) as connection, postgres_errors("read the schema version"):
        version = installed_version(connection)
        if version is not None and version >= newest_version():
            return
    _upgrade(database_url)


@cache
def known_versions() -> tuple[str, ...]:
    """Return all revision ids in order, read from file names: importing Alembic would take 0.3 s."""
    return tuple(sorted(file.name.split("_", 1)[0] for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py")))


def newest_version() -> str:
    """Return the revision that `migrate` upgrades to."""
    return known_versions()[-1]


def installed_version(connection: psycopg.Connection[Any]) -> str | None:
    """Return the database's revision, None before the first migration.

    Raises `InvalidSettings` for a newer one than this version knows, unless it is said to be usable for this version.
    """
    row = connection.execute("select to_regclass(%s) is not null", [VERSION_TABLE]).fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute(SQL("select version_num from {}").format(Identifier(VERSION_TABLE))).fetchone()
    version = None if row is None else str(row[0])
    if version is not None and version not in known_versions() and not _is_usable(connection):
        raise InvalidSettings(
            f"the database has schema version {version}, and this version of Waybill knows none after "
            f"{newest_version()}; use the newer Waybill that migrated it, or another database"
        )
    return version


def _is_usable(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the newer version that has migrated the database says that this one may use it."""
    row = connection.execute("select obj_description(to_regclass(%s), 'pg_class')", [VERSION_TABLE]).fetchone()
    said = str(row[0] or "") if row is not None else ""
    since = said.removeprefix(_USABLE_SINCE)
    return said != since and since.isdigit() and since <= newest_version()


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for *connection*; the caller commits."""
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # The option goes through configparser, where a bare % in an installation path would start an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def create_extensions(connection: psycopg.Connection[Any], names: tuple[str, ...] = EXTENSIONS) -> None:
    """Create the missing extensions. Raises `InvalidSettings` when the server has none or the role may not."""
    for name in names:
        # Checked first: "create extension if not exists" needs the right to create even where it would do nothing.
        if connection.execute("select 1 from pg_extension where extname = %s", [name]).fetchone():
            continue
        try:
            connection.execute(SQL("create extension if not exists {}").format(Identifier(name)))
        except psycopg.errors.InsufficientPrivilege as exc:
            raise InvalidSettings(
                f"the database role may not create the extension {name}; run as an administrator, once, in this "
                f"database: create extension {name}"
            ) from exc
        except psycopg.Error as exc:
            if not is_missing_extension(exc):
                raise
            raise InvalidSettings(
                f"the Postgres server does not have the extension {name}; install it there "
                "(pgvector for vector, the contrib package for pg_trgm)"
            ) from exc


def _upgrade(database_url: str) -> None:
    """Migrate in one transaction; once more where its session was ended, since nothing of it has stayed then."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    opened: list[psycopg.Connection[Any]] = []

    def open_connection() -> psycopg.Connection[Any]:
        opened.append(connect(database_url))
        return opened[-1]

    # The connection is opened by `connect`, so every URL that libpq reads works and SQLAlchemy parses none.
    engine = create_engine("postgresql+psycopg://", creator=open_connection, poolclass=NullPool)
    with postgres_errors("migrate the database"):
        while True:
            try:
                _migrate(engine)
                return
            except (DBAPIError, psycopg.Error) as exc:
                error = exc.orig if isinstance(exc, DBAPIError) else exc
                if not isinstance(error, psycopg.Error):
                    raise
                if len(opened) != 1 or not _is_ended_session(error):
                    raise error from exc


def _is_ended_session(error: psycopg.Error) -> bool:
    """Return whether the session was ended, by an administrator (57P01), a restart, or the network."""
    return isinstance(error, psycopg.OperationalError) and (error.sqlstate or "08").startswith(("08", "57P"))


def _migrate(engine: Engine) -> None:
    from alembic import command
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text(f"set local lock_timeout = '{_LOCK_WAIT_SECONDS}s'"))
        connection.execute(text(f"select pg_advisory_xact_lock({LOCK_KEY})"))
        create_extensions(cast("psycopg.Connection[Any]", connection.connection.driver_connection))
        command.upgrade(alembic_config(connection), "head")
        # In the comment of the table that older versions read anyway: the schema itself stays that of the migrations.
        connection.execute(text(f"comment on table {VERSION_TABLE} is '{_USABLE_SINCE}{USABLE_SINCE}'"))
