"""The waybill of one file, as the rest of the program sees it; pure.

Owns the shape of an artifact and of what may be said before it exists (`Draft`). Knows no SQL and no storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

Kind = Literal["stage_output", "upload", "transfer", "export"]
KINDS: tuple[Kind, ...] = ("stage_output", "upload", "transfer", "export")


@dataclass(frozen=True, kw_only=True)
class StageMark:
    """Which stage made a file, and the key under which an equal output can be found again."""

    number: int
    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What is known of a file before a byte of it is stored. `source_file` is a path or URL, `filename` for people."""

    kind: Kind
    filename: str
    source_file: str
    document_sha256: str
    media_type: str
    keep_for: timedelta
    stage: StageMark | None = None
    run_id: UUID | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    report: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A place for one file: its id, the storage key made for it, and what was said of it."""

    file_id: UUID
    location: str
    draft: Draft


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What was written: `size` and `sha256` are of the content, `stored_*` of the bytes as they lie in storage.

    `encrypted_for` is the age recipient, None where the stored bytes are the content; `header_sha256` is the hash of
    the age header, which seals the file's own key.
    """

    size: int
    sha256: str
    stored_size: int
    stored_sha256: str
    encrypted_for: str | None = None
    header_sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One available file. For sizes, hashes and encryption see `Stored`."""

    file_id: UUID
    kind: Kind
    filename: str
    source_file: str
    document_sha256: str
    stage: int | None
    stage_name: str | None
    stage_key: str | None
    run_id: UUID | None
    media_type: str
    size: int
    sha256: str
    stored_size: int
    stored_sha256: str
    location: str
    metadata: Mapping[str, Any]
    report: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
    encrypted_for: str | None = None
    header_sha256: str | None = None
    verified_at: datetime | None = None
    damaged_at: datetime | None = None
    damage: str | None = None
    pinned_at: datetime | None = None
    pin_note: str | None = None

    def summary(self) -> dict[str, Any]:
        """The public fields that every answer about this artifact carries; JSON types only."""
        return {
            "file_id": str(self.file_id),
            "filename": self.filename,
            "kind": self.kind,
            "stage": self.stage,
            "stage_name": self.stage_name,
            "size": self.size,
            "sha256": self.sha256,
            "media_type": self.media_type,
            "created_at": self.created_at.isoformat(),
            "expires_at": self.expires_at.isoformat(),
        }

    def listing(self) -> dict[str, Any]:
        """`summary` with the source, the run and the metadata, as lists show it."""
        return {
            **self.summary(),
            "source_file": self.source_file,
            "run_id": str(self.run_id) if self.run_id else None,
            "metadata": dict(self.metadata),
            "damaged": self.damage,
            "pinned": self.pinned_at is not None,
        }

    def metadata_view(self) -> dict[str, Any]:
        """The content of ``NAME.stageN.meta.json``: what the catalogue knows of the file."""
        return {
            **self.listing(),
            "document_sha256": self.document_sha256,
            "stage_key": self.stage_key,
            "stored_size": self.stored_size,
            "stored_sha256": self.stored_sha256,
            "encrypted_for": self.encrypted_for,
            "verified_at": self.verified_at.isoformat() if self.verified_at else None,
            "damaged_at": self.damaged_at.isoformat() if self.damaged_at else None,
            "pinned_at": self.pinned_at.isoformat() if self.pinned_at else None,
            "pin_note": self.pin_note,
        }

    def report_view(self) -> dict[str, Any]:
        """The content of ``NAME.stageN.report.json``: how the stage that made the file went."""
        return {
            "file_id": str(self.file_id),
            "filename": self.filename,
            "stage": self.stage,
            "stage_name": self.stage_name,
            "run_id": str(self.run_id) if self.run_id else None,
            **self.report,
        }
