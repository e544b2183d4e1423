"""A transfer as the catalogue has it: what is handed over, to or from where, and how far it is; pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from blocks.errors import InvalidOptions
from blocks.json_cleaning import json_value

Direction = Literal["download", "upload"]
State = Literal["pending", "in_progress", "completed", "failed", "expired", "cancelled"]
SealedFor = Literal["recipient", "storage", "unknown"]

STATES: tuple[State, ...] = ("pending", "in_progress", "completed", "failed", "expired", "cancelled")
OPEN_STATES: frozenset[str] = frozenset({"pending", "in_progress"})

# How long a transfer lasts unless it is asked to last longer.
DEFAULT_LIFETIME = timedelta(hours=1)
# After the last byte of a download has been sent its client may have lost some of them with the connection.
RESUME_GRACE = timedelta(minutes=5)
# As long as a link may last.
MAX_LIFETIME = timedelta(days=30)

_ID = re.compile(r"trf_[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One transfer. For the columns see migration 0011; times are the database's, sizes are bytes."""

    transfer_id: str
    direction: Direction
    state: State
    worker: str | None
    assignment_id: str | None
    file_id: UUID | None
    filename: str
    media_type: str
    recipient: str | None
    sealed_for: SealedFor
    header: bytes | None = field(repr=False)
    replaced_bytes: int
    size: int | None
    sha256: str | None
    content_size: int | None
    content_sha256: str | None
    done_bytes: int
    sent_bytes: int
    bytes_per_second: float | None
    metadata: Mapping[str, Any]
    keep_for: timedelta | None
    error: str | None
    requested_by: str
    run_id: UUID | None
    created_at: datetime
    started_at: datetime | None
    progress_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime

    @property
    def is_open(self) -> bool:
        """Whether bytes may still pass."""
        return self.state in OPEN_STATES

    @property
    def progress(self) -> float:
        """How much of it is done, from 0 to 1; 0 while the size is not known."""
        return min(1.0, self.done_bytes / self.size) if self.size else float(self.state == "completed")

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the last rate; None where it is over, or either is not known."""
        if not self.is_open or self.size is None or not self.bytes_per_second:
            return None
        return max(0, self.size - self.done_bytes) / self.bytes_per_second

    def as_json(self) -> dict[str, Any]:
        """Return the public fields, without tokens and header."""
        return {
            "transfer_id": self.transfer_id,
            "direction": self.direction,
            "state": self.state,
            "worker": self.worker,
            "file_id": str(self.file_id) if self.file_id else None,
            "filename": self.filename,
            "media_type": self.media_type,
            "recipient": self.recipient,
            "size": self.size,
            "content_size": self.content_size,
            "content_sha256": self.content_sha256,
            "bytes_done": self.done_bytes,
            "bytes_sent": self.sent_bytes,
            "bytes_per_second": round(self.bytes_per_second, 1) if self.bytes_per_second is not None else None,
            "seconds_left": round(self.seconds_left, 1) if self.seconds_left is not None else None,
            "progress": round(self.progress, 4),
            "error": self.error,
            "requested_by": self.requested_by,
            "run_id": str(self.run_id) if self.run_id else None,
            **{
                name: json_value(getattr(self, name))
                for name in ("created_at", "started_at", "progress_at", "ended_at", "expires_at")
            },
        }


def new_transfer_id() -> str:
    """Return a fresh id."""
    return f"trf_{secrets.token_hex(8)}"


def check_transfer_id(text: str) -> str:
    """Return *text*. Raises `InvalidOptions` unless it has the form of an id."""
    if _ID.fullmatch(text) is None:
        raise InvalidOptions("a transfer's id is trf_ and 16 hexadecimal digits; 'waybill transfers list' shows all")
    return text
