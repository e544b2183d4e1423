"""Page cursors: the time and id of a page's last row, as an opaque text; pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar, overload
from uuid import UUID

from blocks.errors import InvalidOptions
from blocks.postgres.far_time import FarTime

IdT = TypeVar("IdT")

# `infinity`, or a time with a year that `datetime` does not reach, as Postgres writes both.
_FAR_TIME = re.compile(
    r"-?infinity|[0-9]{4,6}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9][0-9.+:-]{0,20}( BC)?"
)


def write_cursor(created_at: datetime, row_id: object) -> str:
    """Return the cursor that continues after this row."""
    text = created_at.postgres_text if isinstance(created_at, FarTime) else created_at.isoformat()
    return base64.urlsafe_b64encode(f"{text} {row_id}".encode()).decode()


@overload
def read_row_cursor(cursor: str) -> tuple[datetime | str, UUID]: ...
@overload
def read_row_cursor(cursor: str, read_id: Callable[[str], IdT]) -> tuple[datetime | str, IdT]: ...
def read_row_cursor(cursor: str, read_id: Callable[[str], Any] = UUID) -> tuple[datetime | str, Any]:
    """Return the row of the database that *cursor* continues after, with its time as a parameter for Postgres.

    Raises `InvalidOptions`.
    """
    try:
        created_text, _, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().rpartition(" ")
        if _FAR_TIME.fullmatch(created_text):
            return created_text, read_id(row_id)
    except (ValueError, binascii.Error):
        pass  # as `read_cursor` says
    return read_cursor(cursor, read_id)


def read_cursor(cursor: str, read_id: Callable[[str], IdT]) -> tuple[datetime, IdT]:
    """Return the entry that *cursor* continues after, its id as *read_id* reads it. Raises `InvalidOptions`."""
    try:
        created_text, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        created_at = datetime.fromisoformat(created_text)
        if created_at.tzinfo is None:
            raise ValueError("a time without its zone")
        return created_at, read_id(row_id)
    except (ValueError, binascii.Error, InvalidOptions) as exc:
        raise InvalidOptions("the page cursor is not one that Waybill gave; start from the first page") from exc
