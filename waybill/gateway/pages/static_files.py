"""The page's own style, script and pictures, read once from the package and served under names with their hash.

A changed file has another address, so browsers keep the old one for ever without ever showing it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

STATIC_PATH = "/static"
HTMX = "htmx-2.0.11.min.js"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, kw_only=True)
class StaticFile:
    """One file of the package."""

    content: bytes
    media_type: str
    version: str


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Return all of them by name."""
    found: dict[str, StaticFile] = {}
    for entry in files("waybill.gateway.pages").joinpath("static").iterdir():
        media_type = _MEDIA_TYPES.get(f".{entry.name.rpartition('.')[2]}")
        if media_type is not None:
            content = entry.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:12]
            found[entry.name] = StaticFile(content=content, media_type=media_type, version=version)
    return found


def static_url(name: str) -> str:
    """Return the address of a file, which changes with its content."""
    return f"{STATIC_PATH}/{name}?v={static_files()[name].version}"
