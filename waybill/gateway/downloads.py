"""``GET`` and ``HEAD`` of one file by a signed link.

Owns the order of the questions: may this link do that (nothing is looked up before), is the file there, does the client
have it already, which part does it want (RFC 9110 section 13.2.2).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from blocks.catalog import Artifact
from blocks.custody import Custody
from blocks.download_name import content_disposition
from blocks.links import DOWNLOAD_PATH, Links, direct_link
from blocks.tokens import Clock, utc_now
from waybill.gateway.answers import SAFE_HEADERS, Refusal, no_token
from waybill.gateway.byte_ranges import ByteRange, RangeNotSatisfiable, requested_range
from waybill.gateway.content_answer import ContentAnswer
from waybill.gateway.entity_tags import continues, entity_tag, matches_any

# The client follows at once; S3 asks for the signature at the beginning of an answer only.
REDIRECT_LIFETIME = timedelta(minutes=5)

# RFC 9110 section 8.3.1, with plain parameters.
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:; ?[\w-]+=[\w.+-]+)*", re.ASCII)


class Downloads:
    """Answers for one custody. With *redirects*, to the storage itself where that can sign a link to the content."""

    def __init__(self, custody: Custody, links: Links, *, redirects: bool, clock: Clock = utc_now) -> None:
        self._custody = custody
        self._links = links
        self._redirects = redirects
        self._clock = clock

    async def answer(self, request: Request, file_id: UUID, token: str | None) -> Response:
        """The answer to one request. Raises `Refusal`, `LinkInvalid`, `LinkExpired`, and what custody raises."""
        if not token:
            raise no_token("see 'waybill files share'")
        link = await asyncio.to_thread(self._links.check_download, token, file_id)
        artifact = await self._custody.get(file_id)
        headers = _headers(artifact)
        part = _wanted(request, artifact, headers)
        if isinstance(part, Response):
            return part
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Length": str(artifact.size)})
        redirect = await self._redirect(artifact, link.expires_at)
        return redirect or ContentAnswer(self._custody, artifact, part, headers=headers)

    async def _redirect(self, artifact: Artifact, link_ends: datetime) -> Response | None:
        """To the storage, for a few minutes, and never longer than the link that was shown."""
        lifetime = min(REDIRECT_LIFETIME, link_ends - self._clock())
        if not self._redirects or lifetime < timedelta(seconds=1):
            return None
        direct = await asyncio.to_thread(direct_link, self._custody.backend, artifact, lifetime)
        return RedirectResponse(direct.url, status_code=307, headers=SAFE_HEADERS) if direct else None


def download_routes(downloads: Downloads) -> APIRouter:
    """The path that links lead to."""
    router = APIRouter()

    @router.api_route(f"{DOWNLOAD_PATH}/{{file_id}}", methods=["GET", "HEAD"])
    async def download(request: Request, file_id: UUID, token: Annotated[str | None, Query()] = None) -> Response:
        return await downloads.answer(request, file_id, token)

    del download  # registered by its decorator
    return router


def _wanted(request: Request, artifact: Artifact, headers: Mapping[str, str]) -> ByteRange | Response | None:
    """The part that the request asks for (None: all of it), or the answer that it has it already."""
    tag = headers["ETag"]
    if_match = request.headers.getlist("if-match")
    if if_match and not matches_any(if_match, tag, weak=False):
        raise Refusal(412, "PreconditionFailed", "the file is not the one that If-Match names")
    if matches_any(request.headers.getlist("if-none-match"), tag, weak=True):
        return Response(status_code=304, headers={**SAFE_HEADERS, "ETag": tag})
    # A range means something with GET only: section 14.2.
    if request.method != "GET" or not continues(request.headers.getlist("if-range"), tag):
        return None
    try:
        return requested_range(request.headers.getlist("range"), artifact.size)
    except RangeNotSatisfiable:
        raise Refusal(
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
