"""Page cursors: the time and id of a page's last row, as an opaque text; pure."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from uuid import UUID

from blocks.errors import InvalidOptions


def write_cursor(created_at: datetime, row_id: UUID) -> str:
    """Return the cursor that continues after this row."""
    return base64.urlsafe_b64encode(f"{created_at.isoformat()} {row_id}".encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Return the row that *cursor* continues after. Raises `InvalidOptions`."""
    try:
        created_text, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        created_at = datetime.fromisoformat(created_text)
        if created_at.tzinfo is None:
            raise ValueError("a time without its zone")
        return created_at, UUID(row_id)
    except (ValueError, binascii.Error) as exc:
        raise InvalidOptions("the page cursor is not one that Waybill gave; start from the first page") from exc
