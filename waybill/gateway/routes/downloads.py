"""``GET`` and ``HEAD`` of a file's content, with a signed link or an API key.

Owns the order of the checks: may this link or key read the file (nothing about the file is looked up before), does it
exist, do the client's conditions hold, which range is wanted (RFC 9110 section 13.2.2). A download is in the audit log
before its first byte is sent.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from blocks.access import READ
from blocks.catalog import Artifact
from blocks.content_disposition import content_disposition
from blocks.custody import Custody
from blocks.links import DOWNLOAD_PATH, direct_link
from blocks.runtime.clock import utc_now
from waybill.gateway.access import Caller, link_required
from waybill.gateway.dependencies import Credentials, GatewayResources
from waybill.gateway.errors import SAFE_HEADERS
from waybill.gateway.http.conditional_requests import entity_tag
from waybill.gateway.http.content_response import ContentResponse
from waybill.gateway.http.requested_part import requested_part
from waybill.gateway.openapi import ANY_CONTENT, errors
from waybill.gateway.resources import Resources

# Clients follow a redirect immediately, and S3 checks the signature only when a download begins.
REDIRECT_LIFETIME = timedelta(minutes=5)

# RFC 9110 section 8.3.1, without quoted parameters. Anything else is served as application/octet-stream.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:; ?[\w-]+=[\w.+-]+)*", re.ASCII)

router = APIRouter(tags=["files"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file", "content": ANY_CONTENT},
    206: {"description": "One range of the file", "content": ANY_CONTENT},
    304: {"description": "If-None-Match names the file's ETag: the client has it already"},
    307: {"description": "Redirect to the storage, which serves the content"},
    **errors(404, 410, 412, 416),
}


@router.get(f"{DOWNLOAD_PATH}/{{file_id}}", responses=_ANSWERS, response_class=Response)
@router.head(f"{DOWNLOAD_PATH}/{{file_id}}", responses=_ANSWERS, response_class=Response, operation_id="download_head")
async def download(
    request: Request,
    resources: GatewayResources,
    _: Credentials,
    file_id: UUID,
    token: Annotated[str | None, Query()] = None,
) -> Response:
    """Return the content of a file, whole or one range of it."""
    caller, expires_at = await _authorized(request, resources, file_id, token)
    return await send_file(request, resources, caller, file_id, expires_at=expires_at)


async def send_file(
    request: Request, resources: Resources, caller: Caller, file_id: UUID, *, expires_at: datetime | None = None
) -> Response:
    """Return the response to *request* for the content of a file, which *caller* may read, by a link until then.

    Always an attachment that a browser neither shows nor runs. Raises `ArtifactNotFound`, also as `ArtifactGone`.
    """
    custody = resources.custody
    artifact = await resources.lookups.file(file_id)
    headers = _headers(artifact)
    part = requested_part(request, artifact.size, headers["ETag"])
    if isinstance(part, Response):
        return part
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(artifact.size)})
    detail = {"from": part.start, "to": part.stop} if part else {}
    await resources.lookups.record(caller.entry("download", file_id=file_id, detail=detail))
    redirect = await _redirect(custody, artifact, expires_at) if resources.settings.presigned_redirects else None
    return redirect or ContentResponse(
        custody, artifact, part, headers=headers, readers=resources.readers, holder=caller.namespace
    )


async def _authorized(
    request: Request, resources: Resources, file_id: UUID, token: str | None
) -> tuple[Caller, datetime | None]:
    """Return the caller and when a link expires, None for a key. A link takes precedence over a key."""
    if token:
        grant = await asyncio.to_thread(resources.links.check_download, token, file_id)
        return resources.gate.admit_link(request, token), grant.expires_at
    if "authorization" not in request.headers:
        raise link_required("create one with 'waybill files share', or send an API key")
    return await resources.gate.admit(request, READ), None


async def _redirect(custody: Custody, artifact: Artifact, expires_at: datetime | None) -> Response | None:
    """Return a redirect to the storage for some minutes, not longer than the link; None where it cannot serve."""
    lifetime = min(REDIRECT_LIFETIME, expires_at - utc_now()) if expires_at else REDIRECT_LIFETIME
    if lifetime < timedelta(seconds=1):
        return None
    direct = await asyncio.to_thread(direct_link, custody.backend, artifact, lifetime)
    return RedirectResponse(direct.url, status_code=307, headers=SAFE_HEADERS) if direct else None


def _headers(artifact: Artifact) -> dict[str, str]:
    is_valid = _MEDIA_TYPE.fullmatch(artifact.media_type) is not None
    return {
        **SAFE_HEADERS,
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition(artifact.filename),
        "Content-Type": artifact.media_type if is_valid else "application/octet-stream",
        "ETag": entity_tag(artifact.sha256),
    }
