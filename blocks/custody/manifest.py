"""The manifest of each blob: the content of its catalogue row, sealed like the blob.

The catalogue can be rebuilt from the manifests alone. A manifest is written after its blob and before its row becomes
`available`, so every available file has one. It is encrypted for the same recipient: names and sources are
confidential, and an attacker who holds only the storage cannot write one. Here is its form, and the object next to the
blob that holds it; that of a small file is in the blob's header (`inline_manifest`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from blocks.age import seal_whole, unseal
from blocks.catalog import Artifact, Kind, Stored
from blocks.catalog.json_columns import json_text
from blocks.errors import MalformedAgeFile, MalformedManifest
from blocks.keys import StorageKeys, StorageRecipient
from blocks.naming import clean_display_name

# Only paths of manifests end with it: other paths end with hexadecimal digits.
MANIFEST_SUFFIX = ".waybill"
FORMAT_VERSION = 1
# Metadata and a report of one MiB each, both escaped, and the columns.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

# A time that Postgres stores and Python cannot read would make every list with its row fail. No file is older than this
# program or kept for ever.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_Time = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST)]

# Names are cleaned to 200 bytes when files are stored.
_MAX_FILENAME_CHARS = 1000
# A signed URL has some thousand characters.
_MAX_SOURCE_CHARS = 65_536

_AGE_MAGIC = b"age-encryption.org/"


def _file_name(name: str) -> str:
    """Return *name* cleaned as it was when the file was stored, so that it leads out of no folder."""
    if "\0" in name:
        raise ValueError("no file's name holds U+0000")
    return clean_display_name(name)


class Described(BaseModel):
    """The file format, but for the stored bytes. Field names are the catalogue's columns."""

    model_config = ConfigDict(extra="forbid", strict=False)

    waybill_manifest: Literal[1]
    file_id: UUID
    kind: Kind
    filename: Annotated[str, Field(max_length=_MAX_FILENAME_CHARS), AfterValidator(_file_name)]
    source_file: str = Field(max_length=_MAX_SOURCE_CHARS)
    document_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    stage: int | None
    stage_name: str | None
    stage_key: str | None = Field(pattern="^[0-9a-f]{64}$")
    run_id: UUID | None
    media_type: str = Field(pattern="^[ -~]+$")  # a header's value
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    location: str
    metadata: dict[str, Any]
    report: dict[str, Any]
    created_at: _Time
    expires_at: _Time
    encrypted_for: str | None

    def as_artifact(self, stored: Stored) -> Artifact:
        """Return the file with *stored* as its bytes."""
        return Artifact(**{**self.model_dump(exclude={"waybill_manifest"}), **vars(stored)})


class _Manifest(Described):
    """The whole format, of a manifest next to its blob."""

    stored_size: int = Field(ge=0)
    stored_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    header_sha256: str | None = Field(pattern="^[0-9a-f]{64}$")


_FormT = TypeVar("_FormT", bound=Described)

# Later marks belong to the catalogue alone: a restored file has been neither verified nor pinned nor held.
_LEFT_OUT = frozenset(
    {"manifest", "verified_at", "damaged_at", "damage", "pinned_at", "pin_note", "held_at", "hold_note"}
)
# An inline manifest is part of the stored bytes, so it cannot describe them.
_OF_STORED_BYTES = frozenset({"stored_size", "stored_sha256", "header_sha256"})


def manifest_path(location: str) -> str:
    """Return the path of the manifest of the blob at *location*."""
    return location + MANIFEST_SUFFIX


def is_manifest_path(path: str) -> bool:
    """Return whether *path* is that of a manifest, not of a blob."""
    return path.endswith(MANIFEST_SUFFIX)


def is_sealed(content: bytes) -> bool:
    """Return whether *content*, a manifest or its beginning, is encrypted."""
    return content.startswith(_AGE_MAGIC)


def write_manifest(artifact: Artifact, recipient: StorageRecipient | None) -> bytes:
    """Return the manifest of *artifact*, encrypted for *recipient* if there is one."""
    plain = manifest_bytes(artifact)
    return plain if recipient is None else b"".join(seal_whole(plain, [recipient]))


def manifest_bytes(artifact: Artifact, *, inline: bool = False) -> bytes:
    """Return the manifest as JSON; one that is *inline* without what it cannot know. Raises `CatalogRefused`."""
    left_out = _LEFT_OUT | _OF_STORED_BYTES if inline else _LEFT_OUT
    row = {name: value for name, value in vars(artifact).items() if name not in left_out}
    # As the catalogue writes them, so that a restored row equals the original one.
    json_columns = {name: orjson.Fragment(json_text(row[name], name)) for name in ("metadata", "report")}
    return orjson.dumps({"waybill_manifest": FORMAT_VERSION, **row, **json_columns})


def read_manifest(content: bytes, keys: StorageKeys, *, accept_plain: bool) -> Artifact:
    """Return the artifact that a manifest describes.

    Raises `MalformedManifest`, also for one that is not encrypted unless *accept_plain*; `NoMatchingIdentity`;
    `AuthenticationFailed`.
    """
    if is_sealed(content):
        try:
            content = b"".join(unseal([content], keys.identities))
        except MalformedAgeFile as exc:
            raise MalformedManifest(f"it is cut short or changed: {exc}") from exc
    elif not accept_plain:
        raise MalformedManifest(
            "it is not encrypted, so any account with access to the storage could have written it; to restore files "
            "that were stored before encryption was turned on, use --accept-plain"
        )
    return Artifact(**_parse(_Manifest, content).model_dump(exclude={"waybill_manifest"}))


def parse_inline(content: bytes) -> Described:
    """Return what an inline manifest, decrypted and inflated, says of its file. Raises `MalformedManifest`."""
    return _parse(Described, content)


def _parse(form: type[_FormT], content: bytes) -> _FormT:
    try:
        return form.model_validate_json(content)
    except ValidationError as exc:
        where = ", ".join(sorted({".".join(map(str, error["loc"])) or "its JSON" for error in exc.errors()}))
        raise MalformedManifest(f"it is not a manifest of version {FORMAT_VERSION}; invalid: {where}") from exc
