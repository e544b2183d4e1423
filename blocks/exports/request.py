"""What an export job is asked for: checked, and in the form that its row keeps; pure.

A row, a Prefect parameter and a request over HTTP name a database by the name of a connection in the settings, never by
its URL, because URLs hold passwords.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from blocks.age import parse_recipient
from blocks.durations import format_duration, parse_duration
from blocks.errors import InvalidKey, InvalidOptions
from blocks.redaction import without_password, without_signature

# The tables of the catalogue that can be exported by name; `runs` comes from Prefect.
TABLES = ("documents", "chunks", "facts", "entities", "artifacts", "deliveries", "events", "runs")
FORMATS = ("csv", "json", "jsonl", "xlsx", "parquet")
COMPRESSIONS = ("gzip", "zstd")
# The connection that a query uses when none is named: the catalogue, through a role that reads its views alone.
CATALOG = "catalog"
# The recipient that stands for the storage key of the home.
STORAGE = "storage"

# A query of this length takes Postgres some milliseconds to parse; Prefect refuses parameters of 512 KiB.
MAX_QUERY_CHARS = 50_000
# As in `blocks.settings`: a thousand years.
MAX_KEEP = timedelta(days=365_000)
# Also the beginning of a file's name.
NAME_PATTERN = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
JOB_ID_PATTERN = r"exp_[0-9a-f]{16}"
_TYPE = re.compile(NAME_PATTERN)
_JOB_ID = re.compile(JOB_ID_PATTERN)


def new_job_id() -> str:
    """Return ``exp_`` and 16 random hexadecimal digits."""
    return f"exp_{secrets.token_hex(8)}"


def check_job_id(text: str) -> str:
    """Return *text* if it is the id of a job. Raises `InvalidOptions`."""
    if _JOB_ID.fullmatch(text) is None:
        raise InvalidOptions(f"{text[:40]!r} is not the id of an export; ids look like exp_0123456789abcdef")
    return text


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One export: a table, a *query* on a *database*, or an *input* file, and the form of the result.

    *database* is the name of a connection in the settings. A URL is allowed where the job runs in the process of its
    caller alone, which `stored` redacts. Raises `InvalidOptions`.
    """

    export_type: str
    format: str
    compression: str | None = None
    query: str | None = None
    database: str | None = None
    input: str | None = None
    keep_for: timedelta | None = None
    encrypt_for: Sequence[str] = ()
    safe_formulas: bool = False

    def __post_init__(self) -> None:
        if _TYPE.fullmatch(self.export_type) is None:
            raise InvalidOptions(
                f"{self.export_type[:70]!r} cannot name an export: write a letter, then letters, digits, _ or -, "
                "64 at most"
            )
        if self.query is not None and self.input is not None:
            raise InvalidOptions("an export has either a query or an input file, not both")
        if self.database is not None and self.query is None:
            raise InvalidOptions("a database needs a query; without one, the tables of the catalogue are exported")
        if self.query is not None and not 0 < len(self.query.strip()) <= MAX_QUERY_CHARS:
            raise InvalidOptions(f"a query has 1 to {MAX_QUERY_CHARS:,} characters, not {len(self.query.strip()):,}")
        if self.query is None and self.input is None and self.export_type not in TABLES:
            raise InvalidOptions(
                f"there is no table {self.export_type!r}; there are {', '.join(TABLES)}. Other names need a query or "
                "an input"
            )
        if self.format not in FORMATS:
            raise InvalidOptions(f"there is no format {self.format[:40]!r}; there are {', '.join(FORMATS)}")
        if self.compression is not None and self.compression not in COMPRESSIONS:
            raise InvalidOptions(
                f"there is no compression {self.compression[:40]!r}; there are {', '.join(COMPRESSIONS)}"
            )
        if self.keep_for is not None and not timedelta(0) < self.keep_for <= MAX_KEEP:
            raise InvalidOptions("an export is kept longer than 0, and a thousand years at most")
        self._check_recipients()

    @property
    def is_table(self) -> bool:
        """Whether the export is one of `TABLES`."""
        return self.query is None and self.input is None

    @property
    def names_url(self) -> bool:
        """Whether *database* is a URL, or another form of an address, and not the name of a connection."""
        return self.database is not None and not is_connection_name(self.database)

    def check_storable(self) -> None:
        """Raise `InvalidOptions` unless another process can run the job from its row alone."""
        if self.names_url:
            raise InvalidOptions(
                "name a connection of the setting export_databases, not a URL: this request is stored, and URLs hold "
                "passwords"
            )
        if self.input is not None and without_signature(without_password(self.input)) != self.input:
            raise InvalidOptions("the input holds a password or a signature, which is not stored; use one without it")

    def stored(self) -> dict[str, Any]:
        """Return what the row keeps next to type, format and compression; without passwords and signatures."""
        database = None if self.database is None else redacted_database(self.database)
        found: dict[str, Any] = {
            "query": self.query,
            "database": database,
            "input": None if self.input is None else without_signature(without_password(self.input)),
            "keep_for": None if self.keep_for is None else format_duration(self.keep_for),
            "encrypt_for": list(self.encrypt_for),
            "safe_formulas": self.safe_formulas or None,
        }
        return {name: value for name, value in found.items() if value not in (None, [])}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ExportRequest:
        """Return the request of a row of `export_jobs`."""
        given = cast("dict[str, Any]", row["parameters"])
        keep_for = given.get("keep_for")
        return cls(
            export_type=row["export_type"],
            format=row["format"],
            compression=row["compression"],
            query=given.get("query"),
            database=given.get("database"),
            input=given.get("input"),
            keep_for=None if keep_for is None else parse_duration(keep_for),
            encrypt_for=tuple(given.get("encrypt_for", ())),
            safe_formulas=bool(given.get("safe_formulas", False)),
        )

    def _check_recipients(self) -> None:
        for text in self.encrypt_for:
            if text == STORAGE:
                continue
            try:
                parse_recipient(text)
            except InvalidKey as exc:
                raise InvalidOptions(f"encrypt for an age recipient (age1...) or {STORAGE!r}: {exc.message}") from exc


def is_connection_name(text: str) -> bool:
    """Return whether *text* has the form of a connection's name, which no URL and no connection string has."""
    return _TYPE.fullmatch(text) is not None


def redacted_database(database: str) -> str:
    """Return a connection's name, or a URL as it is shown and stored: scheme, host and path alone."""
    if is_connection_name(database):
        return database
    if "://" not in database:  # libpq's key=value, or adbc:DRIVER:URI
        return "(connection string)"
    return without_signature(without_password(database)).partition("?")[0]
