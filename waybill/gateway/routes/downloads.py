"""``GET`` and ``HEAD`` of one file, by a signed link or an API key.

Owns the order of the questions: may this link or key do that (nothing of the file is looked up before), is the file
there, does the client have it already, which part does it want (RFC 9110 section 13.2.2). What is given out is in the
audit log before its first byte.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Security
from fastapi.responses import RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials

from blocks.access import READ
from blocks.catalog import Artifact
from blocks.content_disposition import content_disposition
from blocks.custody import Custody
from blocks.links import DOWNLOAD_PATH, direct_link
from blocks.runtime.clock import utc_now
from waybill.gateway.access import Caller
from waybill.gateway.dependencies import API_KEY, Waybill
from waybill.gateway.errors import SAFE_HEADERS, HttpError, link_required
from waybill.gateway.http.byte_ranges import ByteRange, RangeNotSatisfiable, requested_range
from waybill.gateway.http.content_response import ContentAnswer
from waybill.gateway.http.entity_tags import continues, entity_tag, matches_any
from waybill.gateway.openapi import ANY_CONTENT, errors
from waybill.gateway.resources import Resources
from waybill.gateway.server.request_log import request_id

# The client follows at once; S3 asks for the signature at the beginning of an answer only.
REDIRECT_LIFETIME = timedelta(minutes=5)

# RFC 9110 section 8.3.1, with plain parameters.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:; ?[\w-]+=[\w.+-]+)*", re.ASCII)


router = APIRouter(tags=["files"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file", "content": ANY_CONTENT},
    206: {"description": "One range of it", "content": ANY_CONTENT},
    304: {"description": "If-None-Match names the file's ETag"},
    307: {"description": "To the storage itself, which gives it out"},
    **errors(404, 410, 412, 416),
}


@router.get(f"{DOWNLOAD_PATH}/{{file_id}}", responses=_ANSWERS, response_class=Response)
@router.head(f"{DOWNLOAD_PATH}/{{file_id}}", responses=_ANSWERS, response_class=Response, operation_id="download_head")
async def download(
    request: Request,
    resources: Waybill,
    _: Annotated[HTTPAuthorizationCredentials | None, Security(API_KEY)],
    file_id: UUID,
    token: Annotated[str | None, Query()] = None,
) -> Response:
    """The content of a file. Raises `HttpError`, `LinkInvalid`, `LinkExpired`, and what custody raises."""
    custody = resources.custody
    caller, until = await _admitted(request, resources, file_id, token)
    artifact = await resources.lookups.file(file_id)
    headers = _headers(artifact)
    part = _wanted(request, artifact, headers)
    if isinstance(part, Response):
        return part
    if request.method == "HEAD":
        return Response(headers={**headers, "Content-Length": str(artifact.size)})
    detail = {"from": part.start, "to": part.stop} if part else {}
    await resources.lookups.record(caller.entry("download", file_id=file_id, detail=detail))
    redirect = await _redirect(custody, artifact, until) if resources.settings.presigned_redirects else None
    return redirect or ContentAnswer(custody, artifact, part, headers=headers)


async def _admitted(
    request: Request, resources: Resources, file_id: UUID, token: str | None
) -> tuple[Caller, datetime | None]:
    """Who asks, and until when; None where it is for as long as the key works. A link counts before a key."""
    if token:
        grant = await asyncio.to_thread(resources.links.check_download, token, file_id)
        client = request.client.host if request.client else None
        request.state.actor = "link"
        return Caller(actor="link", client=client, request_id=request_id.get(), key=None), grant.expires_at
    if "authorization" not in request.headers:
        raise link_required("see 'waybill files share'; or show an API key")
    return await resources.gate.admit(request, READ), None


async def _redirect(custody: Custody, artifact: Artifact, until: datetime | None) -> Response | None:
    """To the storage, for a few minutes, and never longer than the link that was shown."""
    lifetime = min(REDIRECT_LIFETIME, until - utc_now()) if until else REDIRECT_LIFETIME
    if lifetime < timedelta(seconds=1):
        return None
    direct = await asyncio.to_thread(direct_link, custody.backend, artifact, lifetime)
    return RedirectResponse(direct.url, status_code=307, headers=SAFE_HEADERS) if direct else None


def _wanted(request: Request, artifact: Artifact, headers: Mapping[str, str]) -> ByteRange | Response | None:
    """The part that the request asks for (None: all of it), or the answer that it has it already."""
    tag = headers["ETag"]
    if_match = request.headers.getlist("if-match")
    if if_match and not matches_any(if_match, tag, weak=False):
        raise HttpError(412, "PreconditionFailed", "the file is not the one that If-Match names")
    if matches_any(request.headers.getlist("if-none-match"), tag, weak=True):
        return Response(status_code=304, headers={**SAFE_HEADERS, "ETag": tag})
    # A range means something with GET only: section 14.2.
    if request.method != "GET" or not continues(request.headers.getlist("if-range"), tag):
        return None
    try:
        return requested_range(request.headers.getlist("range"), artifact.size)
    except RangeNotSatisfiable:
        raise HttpError(
            416,
            "RangeNotSatisfiable",
            f"the range lies behind the end of the file, which has {artifact.size} bytes",
            detail={"size": artifact.size},
            headers={"Content-Range": f"bytes */{artifact.size}"},
        ) from None


def _headers(artifact: Artifact) -> dict[str, str]:
    known = _MEDIA_TYPE.fullmatch(artifact.media_type) is not None
    return {
        **SAFE_HEADERS,
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition(artifact.filename),
        "Content-Type": artifact.media_type if known else "application/octet-stream",
        "ETag": entity_tag(artifact.sha256),
    }
