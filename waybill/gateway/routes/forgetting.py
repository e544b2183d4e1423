"""``DELETE /documents/{sha256}``: forget a document. The response is the certificate of ``waybill forget --json``."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from waybill.gateway.dependencies import Admin, GatewayResources
from waybill.gateway.errors import json_response
from waybill.gateway.http.params import Sha256
from waybill.gateway.openapi import errors
from waybill.gateway.routes.retention import KnownOnly
from waybill.services.forgetting import forget_content

router = APIRouter(prefix="/api/v1", tags=["documents"])

DryRun = Annotated[bool, Query(description="Return what would go; change nothing.")]
Force = Annotated[bool, Query(description="Forget pinned files too. A legal hold keeps a document all the same.")]


class PrefectRows(BaseModel):
    """What was changed or removed of Prefect's records."""

    by: str = Field(examples=["its database"], description="its database, its API, or no Prefect server")
    rows: dict[str, int] = Field(description="Changed or removed rows by table")


class DatabaseFiles(BaseModel):
    """Which files of the database hold nothing of removed rows any more."""

    rewritten: list[str]
    not_rewritten: dict[str, str] = Field(description="Tables whose files may, with the reason")


class ForgetCertificate(BaseModel):
    """What went of a forgotten document, and what could not be reached. Without text and names."""

    sha256: str
    began_at: datetime
    forgotten_at: datetime
    by: str = Field(examples=["key:3f2b9c1d4e5f"])
    removed: dict[str, int] = Field(description="Counts by kind", examples=[{"files": 6, "passages": 31}])
    prefect: PrefectRows
    database_files: DatabaseFiles
    exports_that_may_have_it: list[str] = Field(description="Finished exports that were made while it was there")
    left: dict[str, int] = Field(description="Rows that still have a name of it, by table")
    not_reached: list[str] = Field(description="What no command reaches, such as backups")


class ForeseenFile(BaseModel):
    """A file that would go."""

    file_id: UUID
    filename: str
    kind: str
    stage: int | None
    size: int | None
    source_file: str
    pinned: bool
    held: bool


class ForgetPreview(BaseModel):
    """What would go."""

    sha256: str
    dry_run: bool
    begun: bool = Field(description="Whether an interrupted request has begun: the same request goes on")
    refused: str | None = Field(description="Why the document would not be forgotten now")
    sources: list[str]
    made_from_it: list[str] = Field(description="Documents that were made from its outputs, which would go too")
    files: list[ForeseenFile]
    index: dict[str, int] = Field(description="Rows of the search index by kind")
    runs: list[UUID] = Field(description="Runs whose records would lose the document")


@router.delete(
    "/documents/{sha256}",
    dependencies=KnownOnly,
    responses=errors(404, 409),
    response_model=ForgetCertificate | ForgetPreview,
)
async def forget(
    caller: Admin, resources: GatewayResources, sha256: Sha256, dry_run: DryRun = False, force: Force = False
) -> Response:
    """Forget a document: its files, passages, facts, events, and what Prefect shows of it; return a certificate."""
    async with resources.clean_ups:
        found: dict[str, Any] = await forget_content(
            resources.custody, resources.settings, sha256, force=force, dry_run=dry_run, by=caller
        )
    return json_response(found)
