"""The form of answers about one file, and of what is asked for with it: what the OpenAPI document says.

The gateway answers with what the catalogue's artifacts say of themselves, as the command line does with ``--json``;
these models describe it, and tests hold one against the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from waybill.gateway.http.params import Duration, Text

_RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
_LINK = "http://127.0.0.1:8000/api/v1/files/download/07ea5ac1-3125-4ba3-85c9-4db3d2bb8b56?token=eyJ..."


class FileEntry(BaseModel):
    """A file in custody, as lists show it."""

    file_id: UUID
    filename: str = Field(examples=["report.chunks.json"])
    kind: str = Field(examples=["stage_output"], description="stage_output, upload, transfer or export")
    stage: int | None = Field(examples=[3])
    stage_name: str | None = Field(examples=["chunker"])
    size: int = Field(examples=[34909], description="Bytes of content")
    sha256: str = Field(examples=["ed22d6" + "0" * 58], description="Of the content")
    media_type: str = Field(examples=["application/json"])
    created_at: datetime
    expires_at: datetime
    source_file: str = Field(examples=["report.pdf"], description="The path, URL or name of what it was made from")
    run_id: UUID | None
    metadata: dict[str, Any] = Field(examples=[{"chunks": 12}])
    damaged: str | None = Field(description="What is wrong with the stored bytes, if anything is known")
    pinned: bool


class FileDetails(FileEntry):
    """Everything that the catalogue knows of a file, but where its bytes lie."""

    document_sha256: str = Field(examples=["16fa6c" + "0" * 58], description="Of the document that it was made from")
    stage_key: str | None = Field(examples=["2ebb22" + "0" * 58], description="Equal for equal work")
    stored_size: int = Field(examples=[35109], description="Bytes as they lie in storage")
    stored_sha256: str = Field(examples=["90b0a1" + "0" * 58])
    encrypted_for: str | None = Field(examples=[_RECIPIENT], description="Null for a file that is stored as it is")
    verified_at: datetime | None
    damaged_at: datetime | None
    pinned_at: datetime | None
    pin_note: str | None = Field(examples=["until the audit is over"])


class StageReport(BaseModel):
    """How the stage that made a file went. Further fields are the stage's own."""

    model_config = ConfigDict(extra="allow")

    file_id: UUID
    filename: str = Field(examples=["report.chunks.json"])
    stage: int = Field(examples=[3])
    stage_name: str = Field(examples=["chunker"])
    run_id: UUID | None
    stage_version: str | None = Field(default=None, examples=["1"])
    seconds: float | None = Field(default=None, examples=[0.095])


class FileList(BaseModel):
    """One page of files, newest first."""

    files: list[FileEntry]
    next: str | None = Field(examples=["MjAyNi0x..."], description="`after` of the next page; null on the last one")


class FileRemoved(FileEntry):
    """A file that is no more."""

    state: Literal["removed"]


class ShareOptions(BaseModel):
    """How long a link is to work."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"expires_in": "15m"}, {"expires_in": 900}]}
    )

    expires_in: Duration = "1h"


class SharedLink(BaseModel):
    """A link that downloads one file without an account. Whoever has it can read the file."""

    file_id: UUID
    url: str = Field(examples=[_LINK])
    expires_at: datetime
    direct: bool = Field(description="Whether it leads to the storage itself; over HTTP never")
    capped: bool = Field(description="Whether it ends earlier than asked for, because the file does")


class PinOptions(BaseModel):
    """Why a file is to stay, for whoever wonders later."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "until the audit is over"}]})

    note: Text | None = Field(default=None, max_length=500)
