"""``/static``, ``/favicon.ico`` and ``/robots.txt``: what belongs to the page itself, for every client."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from waybill.gateway.errors import HttpError
from waybill.gateway.pages.static_files import STATIC_PATH, static_files

router = APIRouter(include_in_schema=False)

_NAMED_BY_CONTENT = "public, max-age=31536000, immutable"
_A_DAY = "public, max-age=86400"
# Everything behind it needs a key, and links to files must never be found by a search engine.
_ROBOTS = "User-agent: *\nDisallow: /\n"


@router.get(f"{STATIC_PATH}/{{name}}")
async def static(request: Request, name: str, v: str = "") -> Response:
    """Return one of the page's own files."""
    return _file(request, name, cache=_NAMED_BY_CONTENT if v else _A_DAY)


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    """Return the picture that browsers show in a tab."""
    return _file(request, "favicon.ico", cache=_A_DAY)


@router.get("/robots.txt")
async def robots() -> Response:
    """Keep search engines away."""
    return PlainTextResponse(_ROBOTS, headers={"Cache-Control": _A_DAY, "X-Content-Type-Options": "nosniff"})


def _file(request: Request, name: str, *, cache: str) -> Response:
    found = static_files().get(name)
    if found is None:
        raise HttpError(404, "NotFound", "there is no such file in the page")
    tag = f'"{found.version}"'
    headers = {
        "Cache-Control": cache,
        "ETag": tag,
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        # A picture may be opened by itself, and SVG may hold script.
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
