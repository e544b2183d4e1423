"""Which part of a file a request wants, after its conditions (RFC 9110 section 13.2.2)."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from waybill.gateway.errors import SAFE_HEADERS, HttpError
from waybill.gateway.http.conditional_requests import (
    ByteRange,
    RangeNotSatisfiable,
    allows_range,
    matches_any,
    requested_range,
)


def requested_part(request: Request, size: int, tag: str) -> ByteRange | Response | None:
    """Return the requested range of *size* bytes with the strong entity *tag*, None for all of them, or a 304.

    Raises `HttpError` (412, 416).
    """
    if_match = request.headers.getlist("if-match")
    if if_match and not matches_any(if_match, tag, weak=False):
        raise HttpError(412, "PreconditionFailed", "If-Match does not name the current content of this file")
    if matches_any(request.headers.getlist("if-none-match"), tag, weak=True):
        return Response(status_code=304, headers={**SAFE_HEADERS, "ETag": tag})
    # Range is defined for GET only: section 14.2.
    if request.method != "GET" or not allows_range(request.headers.getlist("if-range"), tag):
        return None
    try:
        return requested_range(request.headers.getlist("range"), size)
    except RangeNotSatisfiable:
        raise HttpError(
            416,
            "RangeNotSatisfiable",
            f"the range is beyond the end of the file, which has {size} bytes",
            detail={"size": size},
            headers={"Content-Range": f"bytes */{size}"},
        ) from None
