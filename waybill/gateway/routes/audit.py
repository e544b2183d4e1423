"""``GET /audit``: the audit log, which says who did what to which file."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from blocks.access import ACTIONS
from waybill.gateway.dependencies import Admin, GatewayResources
from waybill.gateway.errors import json_response
from waybill.gateway.http.params import Limit
from waybill.gateway.openapi import errors
from waybill.services.audit import read_audit_log

router = APIRouter(prefix="/api/v1", tags=["operation"])

# Ten years: more than any installation has recorded.
_MAX_HOURS = 24 * 3650
# The largest bigint.
_LAST_ENTRY = 2**63 - 1


class AuditLine(BaseModel):
    """One recorded action."""

    entry_id: int = Field(examples=[4711])
    recorded_at: datetime
    action: str = Field(examples=["download"])
    actor: str = Field(examples=["key:3f1c0a9b7d52"], description="key:ID, link (a signed link), or cli:ACCOUNT")
    file_id: UUID | None
    run_id: UUID | None
    client: str | None = Field(examples=["192.0.2.7"], description="The client's address")
    request_id: str | None = Field(description="X-Request-ID of the response, also in the gateway's log")
    detail: dict[str, Any]


class AuditLines(BaseModel):
    """One page, newest first."""

    entries: list[AuditLine]
    next: int | None = Field(description="`after` of the next page; null on the last page")


@router.get("/audit", responses=errors(), response_model=AuditLines)
async def audit(
    _: Admin,
    resources: GatewayResources,
    hours: Annotated[float, Query(gt=0, le=_MAX_HOURS, description="How far to look back.")] = 24,
    action: Annotated[str | None, Query(max_length=50, json_schema_extra={"enum": list(ACTIONS)})] = None,
    file_id: UUID | None = None,
    key_id: Annotated[str | None, Query(pattern=r"^[0-9a-f]{12}$", description="Only actions of this API key.")] = None,
    limit: Limit = 100,
    after: Annotated[int | None, Query(ge=1, le=_LAST_ENTRY, description="`next` of the previous page.")] = None,
) -> Response:
    """List recorded actions on files, keys and endpoints, newest first: over HTTP, with links and with commands."""
    page = await read_audit_log(
        resources.custody.catalog,
        hours=hours,
        action=action,
        file_id=file_id,
        key_id=key_id,
        limit=limit,
        after=after,
    )
    return json_response(page.as_json())
