"""Answers that more than one route gives, as the OpenAPI document describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field


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
