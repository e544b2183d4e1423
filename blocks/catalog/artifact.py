"""A file's catalogue row as the program sees it, from `Draft` to `Artifact`, and its JSON for people; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID

from blocks.catalog.ingestion_counts import INGESTOR, with_zeros
from blocks.catalog.outlook import Outlook

# In the age header of the blob, or an object of its own next to it.
ManifestPlace = Literal["inline", "separate"]
Kind = Literal["stage_output", "upload", "transfer", "export"]
KINDS: tuple[Kind, ...] = ("stage_output", "upload", "transfer", "export")
# How a person has a file again that is gone or damaged.
HOW_TO_REMAKE: Mapping[Kind, str] = {
    "stage_output": "process its source again",
    "upload": "upload it again, or process its source again",
    "transfer": "have it sent again",
    "export": "export it again",
}
# Of a bigint, in which Postgres counts them. Sums end there: a damaged row may claim any size, and JSON takes no more.
MOST_BYTES = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class StageMark:
    """The stage that made a file, and the stage key by which an equal output is found again."""

    number: int
    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The description of a file before it is stored. `source_file` is a path or URL, `filename` a name for people."""

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

    def columns(self) -> dict[str, Any]:
        """Return the columns that it fills; `keep_for` becomes a time when the row is written."""
        columns = vars(self) | dict.fromkeys(("stage", "stage_name", "stage_key"))
        del columns["keep_for"]
        if self.stage is not None:
            columns |= {"stage": self.stage.number, "stage_name": self.stage.name, "stage_key": self.stage.key}
        return columns


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A `pending` row: the file's id, the blob path made for it (`location`), and its description."""

    file_id: UUID
    location: str
    draft: Draft

    def filled(self, draft: Draft, stored: Stored, created_at: datetime) -> Artifact:
        """Return the file that it becomes with *stored* as its bytes, described by *draft*."""
        return Artifact(
            file_id=self.file_id,
            location=self.location,
            created_at=created_at,
            expires_at=created_at + draft.keep_for,
            **draft.columns(),
            **vars(stored),
        )


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The result of a write: `size` and `sha256` of the content, `stored_size` and `stored_sha256` of the stored bytes.

    `encrypted_for` is the age recipient, None where the stored bytes are the content; `header_sha256` is the hash of
    the age header, which seals the file's own key; `manifest` says where the manifest is.
    """

    size: int
    sha256: str
    stored_size: int
    stored_sha256: str
    encrypted_for: str | None = None
    header_sha256: str | None = None
    manifest: ManifestPlace = "separate"


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
    manifest: ManifestPlace = "separate"
    verified_at: datetime | None = None
    damaged_at: datetime | None = None
    damage: str | None = None
    pinned_at: datetime | None = None
    pin_note: str | None = None
    held_at: datetime | None = None
    hold_note: str | None = None

    @property
    def stored(self) -> Stored:
        """What was written."""
        return Stored(**{name: getattr(self, name) for name in Stored.__dataclass_fields__})

    @property
    def kept(self) -> bool:
        """Whether a pin or a legal hold keeps the file, whatever `expires_at` says."""
        return self.pinned_at is not None or self.held_at is not None

    @property
    def warnings(self) -> list[str]:
        """The warnings in the report of the stage that made the file; none for a report that SQL has changed."""
        found = self.report.get("warnings")
        return [str(one) for one in cast("list[object]", found)] if isinstance(found, list) else []

    def outlook(self) -> Outlook:
        """Return when the file goes by its own row alone, without the rules of a policy that may keep it longer."""
        if self.kept:
            return Outlook(kept_because="held" if self.held_at is not None else "pinned")
        return Outlook(goes_at=self.expires_at, goes_because="expired", kept_because="not_due")

    def summary(self) -> dict[str, Any]:
        """Return the public fields that every answer about this artifact carries, as JSON types."""
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
        """Return `summary` with the source, the run and the metadata, as listings show it."""
        return {
            **self.summary(),
            "source_file": self.source_file,
            "run_id": str(self.run_id) if self.run_id else None,
            "metadata": dict(self.metadata),
            "damaged": self.damage,
            "pinned": self.pinned_at is not None,
            "held": self.held_at is not None,
        }

    def metadata_view(self) -> dict[str, Any]:
        """Return the content of ``NAME.stageN.meta.json``: the file's catalogue row."""
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
            "held_at": self.held_at.isoformat() if self.held_at else None,
            "hold_note": self.hold_note,
            **self.outlook().as_json(),
        }

    def report_view(self) -> dict[str, Any]:
        """Return the content of ``NAME.stageN.report.json``: the report of the stage that made the file."""
        return {
            "file_id": str(self.file_id),
            "filename": self.filename,
            "stage": self.stage,
            "stage_name": self.stage_name,
            "run_id": str(self.run_id) if self.run_id else None,
            **self.report,
        }


def artifact_of(row: Mapping[str, Any]) -> Artifact:
    """Return the artifact of a catalogue row.

    Metadata or a report that is no JSON object, as SQL may write it, is shown as damage, and as an empty object.
    """
    if type(row["metadata"]) is dict and type(row["report"]) is dict:
        if row["stage_name"] == INGESTOR:
            row = {**row, "metadata": with_zeros(INGESTOR, cast("dict[str, Any]", row["metadata"]))}
        return Artifact(**row)
    odd = [name for name in ("metadata", "report") if type(row[name]) is not dict]
    damage = row["damage"] or f"its row in the catalogue is damaged: {' and '.join(odd)} is no JSON object"
    repaired: dict[str, Any] = {**row, **{name: {} for name in odd}, "damage": damage}
    return Artifact(**repaired)
