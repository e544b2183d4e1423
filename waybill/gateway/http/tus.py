"""The headers of resumable uploads: tus 1.0.0 (tus.io), and the IETF draft (resumable uploads for HTTP) as
tus-js-client 4 speaks it, which names its version in ``Upload-Draft-Interop-Version``: 5 for draft 03, 6 for draft 05.

Owns which request is of which protocol, what its headers mean, and the headers of every answer, errors included.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any, cast

from fastapi import Request
from fastapi.responses import Response

from blocks.errors import InvalidOptions
from blocks.transfers import Transfer
from blocks.transfers.declaration import Checksum, Declaration
from waybill.gateway.errors import HttpError, response_to
from waybill.gateway.http.bounded_json import JsonRoute

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,expiration,checksum,termination"
ALGORITHMS = ("sha1", "sha256", "md5")
TUS_TYPE = "application/offset+octet-stream"
DRAFT_TYPE = "application/partial-upload"
# Of which status no RFC knows; tus has chosen it.
CHECKSUM_MISMATCH = 460

REQUEST_HEADERS = (
    "Tus-Resumable", "Upload-Checksum", "Upload-Complete", "Upload-Defer-Length", "Upload-Draft-Interop-Version",
    "Upload-Length", "Upload-Metadata", "Upload-Offset", "X-HTTP-Method-Override", "X-Requested-With",
)  # fmt: skip
"""What scripts of other sites may send."""
RESPONSE_HEADERS = (
    "Tus-Checksum-Algorithm", "Tus-Extension", "Tus-Max-Size", "Tus-Resumable", "Tus-Version", "Upload-Complete",
    "Upload-Draft-Interop-Version", "Upload-Expires", "Upload-Length", "Upload-Metadata", "Upload-Offset",
)  # fmt: skip
"""What they may read."""

# What the catalogue's numbers hold, with room for sums.
MAX_SIZE_BYTES = 2**62

_DRAFTS = {"5", "6"}
_DRAFT = "Upload-Draft-Interop-Version"
_MAX_METADATA_CHARS = 8192
_NUMBER = re.compile(r"[0-9]{1,19}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_MEDIA_TYPE = re.compile(r"[!-~]{1,100}/[ -~]{1,100}")


class TusRoute(JsonRoute):
    """A router's `route_class` that puts the protocol's headers on every answer, errors too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of `JsonRoute`, with these headers on what it answers."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                response = await handle(request)
            except Exception as error:  # noqa: BLE001 - raised again if nothing answers it
                response = await response_to(request, error)
            draft = draft_of(request)
            response.headers.update({_DRAFT: draft} if draft else {"Tus-Resumable": VERSION})
            return response

        return answered


def draft_of(request: Request) -> str | None:
    """Return the version of the IETF draft that *request* speaks, None for tus. Of an unknown one nothing is known."""
    version = request.headers.get(_DRAFT, "")
    return version if version in _DRAFTS else None


def require_version(request: Request, *, strict: bool = True) -> None:
    """Raise `HttpError` (412) for another version of tus, and with *strict* also without any; 400 for another draft."""
    if _DRAFT.lower() in request.headers:
        if draft_of(request) is None:
            raise HttpError(400, "UnknownDraft", f"{_DRAFT} is 5 or 6 here; or speak tus {VERSION}")
        return
    version = request.headers.get("tus-resumable")
    if version != VERSION and (strict or version is not None):
        message = f"this path speaks tus {VERSION}: send the header 'Tus-Resumable: {VERSION}'"
        raise HttpError(412, "UnsupportedVersion", message, headers={"Tus-Version": VERSION})


def overridden_method(request: Request) -> str | None:
    """Return the method that a client which can only POST means, None for POST."""
    method = request.headers.get("x-http-method-override", "").upper()
    return method if method in {"PATCH", "DELETE"} else None


def discovery_headers(max_bytes: int) -> dict[str, str]:
    """Return what an answer to OPTIONS says of this server."""
    return {
        "Tus-Resumable": VERSION,
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Max-Size": str(max_bytes),
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Cache-Control": "no-store",
    }


def declaration(request: Request) -> Declaration:
    """Return what a POST declares. Raises `HttpError` (400)."""
    if "upload-defer-length" in request.headers:
        raise _bad("Upload-Defer-Length is not supported: declare the length when the upload is created")
    size = number(request, "Upload-Length")
    if size is None and draft_of(request) and is_complete(request):
        size = number(request, "Content-Length")
    if size is None:
        raise _bad("Upload-Length is missing: declare how many bytes the upload has")
    given = metadata(request.headers.get("upload-metadata", ""))
    filename = given.get("filename") or given.get("name") or None
    media_type = given.get("filetype") or given.get("type") or ""
    if filename is not None and "\0" in filename:
        raise _bad("a file name holds no U+0000")
    return Declaration(
        size=size,
        sha256=_sha256(given, "sha256"),
        content_size=_content_size(given),
        content_sha256=_sha256(given, "content_sha256"),
        filename=filename,
        media_type=media_type if _MEDIA_TYPE.fullmatch(media_type) else None,
    )


def metadata(header: str) -> dict[str, str]:
    """Return the pairs of an Upload-Metadata header. Raises `HttpError` (400)."""
    if len(header) > _MAX_METADATA_CHARS:
        raise _bad(f"Upload-Metadata has at most {_MAX_METADATA_CHARS} characters here")
    found: dict[str, str] = {}
    for pair in header.split(",") if header.strip() else ():
        name, _, value = pair.strip().partition(" ")
        if not name or name in found:
            raise _bad("Upload-Metadata is a list of different names, each with a blank and a base64 value")
        try:
            found[name] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise _bad(f"the value of {name[:40]!r} in Upload-Metadata is not base64 of UTF-8") from None
    return found


def metadata_of(transfer: Transfer) -> str:
    """Return the Upload-Metadata header that describes *transfer*."""
    pairs = {"filename": transfer.filename, "filetype": transfer.media_type}
    return ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in pairs.items())


def checksum(request: Request) -> Checksum | None:
    """Return what Upload-Checksum says of the body. Raises `HttpError` (400)."""
    header = request.headers.get("upload-checksum")
    if header is None:
        return None
    algorithm, _, value = header.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise _bad(f"Upload-Checksum knows {', '.join(ALGORITHMS)}")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise _bad("Upload-Checksum is the name of an algorithm, a blank and base64") from None
    return Checksum(algorithm=cast("Any", algorithm), digest=digest)


def number(request: Request, name: str) -> int | None:
    """Return a header that is a whole number, None without it. Raises `HttpError` (400)."""
    value = request.headers.get(name.lower())
    if value is None:
        return None
    if _NUMBER.fullmatch(value.strip()) is None:
        raise _bad(f"{name} is a whole number of bytes")
    return int(value)


def is_complete(request: Request) -> bool | None:
    """Return whether the body of a request of the IETF draft ends the upload; None where it does not say."""
    return {"?1": True, "?0": False}.get(request.headers.get("upload-complete", "").strip())


def media_type(request: Request) -> str:
    """Return the media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def http_date(moment: datetime) -> str:
    """Return *moment* in the form of HTTP dates."""
    return format_datetime(moment, usegmt=True)


def _sha256(given: Mapping[str, str], name: str) -> str | None:
    value = given.get(name)
    if value is not None and _SHA256.fullmatch(value) is None:
        raise _bad(f"{name} in Upload-Metadata is 64 hexadecimal digits")
    return value.lower() if value is not None else None


def _content_size(given: Mapping[str, str]) -> int | None:
    value = given.get("content_size")
    if value is None:
        return None
    if _NUMBER.fullmatch(value) is None or int(value) > MAX_SIZE_BYTES:
        raise _bad(f"content_size in Upload-Metadata is a whole number of bytes, at most {MAX_SIZE_BYTES}")
    return int(value)


def _bad(message: str) -> HttpError:
    return HttpError(400, InvalidOptions.__name__, message)
