"""The database URL of Prefect's server, in the form that its driver reads.

Prefect reaches Postgres through SQLAlchemy and asyncpg, which read neither libpq's URLs nor its options. Owns that
translation, and creating a database for Prefect next to a catalogue that the user has named. Refuses an option that
cannot be translated instead of dropping it: it may be the one that asks for encryption.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from blocks.errors import CatalogUnavailable, StackUnavailable
from blocks.postgres import connect

# What libpq and asyncpg both know, or what only concerns libpq's own waiting and labels.
_TRANSLATED = {"user", "password", "host", "port", "dbname", "sslmode"}
_WITHOUT_MEANING = {"connect_timeout", "application_name", "fallback_application_name", "keepalives"}
_POSTGRES_PORT = 5432
_OTHER_WAYS = "start a Prefect server yourself and name it in PREFECT_API_URL"


def check_database_answers(database_url: str, *, within_seconds: float) -> None:
    """Raise `CatalogUnavailable`, naming server and setting, unless the user's database answers in time."""
    try:
        connect(database_url, longest_seconds=within_seconds).close()
    except CatalogUnavailable as exc:
        named = conninfo_to_dict(database_url)
        address = f"{named.get('host') or named.get('hostaddr') or ''}:{named.get('port') or _POSTGRES_PORT}"
        raise CatalogUnavailable(f"the database of WAYBILL_DATABASE_URL at {address}: {exc.message}") from exc


def create_prefect_database(database_url: str) -> str:
    """Create ``NAME_prefect`` on the server of *database_url* where it is missing; its URL in libpq's spelling.

    The name is the catalogue's own with a suffix: a database called "prefect" may belong to another Prefect server.
    Raises `StackUnavailable` when the role may not create databases.
    """
    with connect(database_url, autocommit=True) as connection:
        name = f"{connection.info.dbname}_prefect"
        try:
            if not connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
                connection.execute(SQL("create database {}").format(Identifier(name)))
        except psycopg.errors.DuplicateDatabase:
            pass  # another command was quicker
        except psycopg.errors.InsufficientPrivilege as exc:
            raise StackUnavailable(
                f"Prefect's server needs a database of its own, and the role of WAYBILL_DATABASE_URL may not create "
                f"{name}; have an administrator create it with this role as its owner, or {_OTHER_WAYS}"
            ) from exc
    return make_conninfo(database_url, dbname=name)


def sqlalchemy_url(conninfo: str) -> str:
    """*conninfo* (a URL or libpq's key=value form) as ``postgresql+asyncpg://``. Raises `StackUnavailable`."""
    parts = {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}
    unknown = sorted(parts.keys() - _TRANSLATED - _WITHOUT_MEANING)
    if unknown or "," in parts.get("host", ""):
        what = ", ".join(unknown) or "several hosts"
        raise StackUnavailable(f"WAYBILL_DATABASE_URL uses {what}, which Prefect's driver does not know; {_OTHER_WAYS}")
    host = parts.get("host", "")
    query = {"ssl": parts["sslmode"]} if "sslmode" in parts else {}
    if host.startswith("/"):  # the directory of a Unix socket
        query |= {key: parts[key] for key in ("host", "port") if key in parts}
        place = ""
    else:
        place = f"[{host}]" if ":" in host else host
        place += f":{parts['port']}" if "port" in parts else ""
    login = ":".join(quote(parts[key], safe="") for key in ("user", "password") if key in parts)
    path = quote(parts.get("dbname", ""), safe="")
    return f"postgresql+asyncpg://{login + '@' if login else ''}{place}/{path}?{urlencode(query)}".rstrip("?")
