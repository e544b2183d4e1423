"""The manifest beside each blob: what its catalogue row says, sealed like the blob; pure.

A store can be catalogued again from its manifests alone. One is written after its blob and before its row becomes
`available`, so every available file has one. It is encrypted for the same recipient: names and sources are nobody
else's business, and who holds only the storage cannot make one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from blocks.age import seal, unseal
from blocks.catalog import Artifact, Kind
from blocks.catalog.json_columns import json_text
from blocks.errors import MalformedAgeFile, MalformedManifest
from blocks.keys import StorageKeys, StorageRecipient

# A key may end with it only if it is a manifest's: Waybill's own keys end with hexadecimal digits.
MANIFEST_SUFFIX = ".waybill"
FORMAT_VERSION = 1
# Metadata and a report of a MiB each, both escaped, and the columns.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

# Times that Postgres stores and Python cannot read make every list with such a row fail. No file is older than this
# program or kept for ever.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_Time = Annotated[AwareDatetime, Field(ge=_EARLIEST, le=_LATEST)]

_AGE_MAGIC = b"age-encryption.org/"


class _Manifest(BaseModel):
    """The file's own form. Field names are the catalogue's columns."""

    model_config = ConfigDict(extra="forbid", strict=False)

    waybill_manifest: Literal[1]
    file_id: UUID
    kind: Kind
    filename: str
    source_file: str
    document_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    stage: int | None
    stage_name: str | None
    stage_key: str | None
    run_id: UUID | None
    media_type: str = Field(pattern="^[ -~]+$")  # a header's value
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    stored_size: int = Field(ge=0)
    stored_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    location: str
    metadata: dict[str, Any]
    report: dict[str, Any]
    created_at: _Time
    expires_at: _Time
    encrypted_for: str | None
    header_sha256: str | None = Field(pattern="^[0-9a-f]{64}$")


# Marks that come later are the catalogue's own: a restored file has been neither verified nor pinned.
_LEFT_OUT = ("verified_at", "damaged_at", "damage", "pinned_at", "pin_note")


def manifest_path(location: str) -> str:
    """Where the manifest of the blob at *location* lies."""
    return location + MANIFEST_SUFFIX


def is_manifest_path(key: str) -> bool:
    """Whether *key* names a manifest, not a blob."""
    return key.endswith(MANIFEST_SUFFIX)


def write_manifest(artifact: Artifact, recipient: StorageRecipient | None) -> bytes:
    """The manifest of *artifact*, encrypted for *recipient* if there is one."""
    row = {name: value for name, value in vars(artifact).items() if name not in _LEFT_OUT}
    # As the catalogue writes them, so that a restored row is equal to the first one.
    facts = {name: orjson.Fragment(json_text(row[name], name)) for name in ("metadata", "report")}
    plain = orjson.dumps({"waybill_manifest": FORMAT_VERSION, **row, **facts})
    return plain if recipient is None else b"".join(seal([plain], [recipient]))


def read_manifest(content: bytes, keys: StorageKeys, *, accept_plain: bool) -> Artifact:
    """The artifact that a manifest describes.

    Raises `MalformedManifest`, also for one that is not encrypted unless *accept_plain*; `NoMatchingIdentity`;
    `AuthenticationFailed`.
    """
    if content.startswith(_AGE_MAGIC):
        try:
            content = b"".join(unseal([content], keys.identities))
        except MalformedAgeFile as exc:
            raise MalformedManifest(f"it is cut short or changed: {exc}") from exc
    elif not accept_plain:
        raise MalformedManifest(
            "it is not encrypted, so anybody could have written it; if files were stored before encryption was turned "
            "on, --accept-plain takes such manifests in"
        )
    try:
        found = _Manifest.model_validate_json(content)
    except ValidationError as exc:
        where = ", ".join(sorted({".".join(map(str, error["loc"])) or "the whole" for error in exc.errors()}))
        raise MalformedManifest(f"it is no manifest of version {FORMAT_VERSION}; wrong in: {where}") from exc
    return Artifact(**found.model_dump(exclude={"waybill_manifest"}))
