"""An export job as its row says it, and its JSON for people and programs; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

State = Literal["pending", "running", "completed", "failed", "cancelled", "deleted"]
STATES: tuple[State, ...] = ("pending", "running", "completed", "failed", "cancelled", "deleted")
_OUTCOMES: Mapping[State, str] = {
    "pending": "the export waits to be begun",
    "running": "another process works on the export",
    "completed": "the export is complete",
    "failed": "the export failed",
    "cancelled": "the export was cancelled",
    "deleted": "the file of the export has expired or was deleted",
}


@dataclass(frozen=True, kw_only=True)
class ExportJob:
    """One export job. *state* is ``deleted`` as soon as the file can no longer be read, whatever has removed it."""

    job_id: str
    export_type: str
    format: str
    compression: str | None
    state: State
    parameters: Mapping[str, Any]
    encrypted: bool
    filename: str | None
    file_id: UUID | None
    path: str | None
    size: int | None
    sha256: str | None
    rows: int
    rows_expected: int | None
    notes: Sequence[str]
    error: str | None
    run_id: UUID | None
    requested_by: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    expires_at: datetime | None
    keep_for: timedelta

    @property
    def outcome(self) -> str:
        """The state as a sentence."""
        return _OUTCOMES[self.state]

    @property
    def progress(self) -> float | None:
        """0 to 1 by rows; None while the number of rows is not known. 1 once the file was whole, also when it is gone.

        A job that failed or was cancelled keeps the rows that it had written.
        """
        if self.sha256 is not None:
            return 1.0
        if not self.rows_expected:
            return None
        return round(min(1.0, self.rows / self.rows_expected), 3)

    def as_json(self) -> dict[str, Any]:
        """Return the job in the form of ``--json`` and the API."""
        return {
            "job_id": self.job_id,
            "export_type": self.export_type,
            "format": self.format,
            "compression": self.compression,
            "state": self.state,
            "filename": self.filename,
            "file_id": _text(self.file_id),
            "rows": self.rows,
            "rows_expected": self.rows_expected,
            "progress": self.progress,
            "size": self.size,
            "sha256": self.sha256,
            "encrypted": self.encrypted,
            "notes": list(self.notes),
            "error": self.error,
            "parameters": dict(self.parameters),
            "run_id": _text(self.run_id),
            "requested_by": self.requested_by,
            "created_at": _time(self.created_at),
            "started_at": _time(self.started_at),
            "ended_at": _time(self.ended_at),
            "expires_at": _time(self.expires_at),
        }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
