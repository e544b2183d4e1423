"""Title and date of creation of a compound file, from its summary property set (MS-OLEPS 2.21, 2.25); pure."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta

from tasks.conversion.office.package import CoreProperties

_CODE_PAGE, _TITLE, _CREATED = 1, 2, 12
_TEXT, _FILE_TIME = 0x1E, 0x40
_UTF_8, _UTF_16 = 65001, 1200
_EPOCH = datetime(1601, 1, 1)  # noqa: DTZ001 - file times are UTC, which `created` does not say elsewhere either
_MOST_PROPERTIES = 100


def summary_properties(stream: bytes | None) -> CoreProperties:
    """Return what the property set in *stream* says; nothing if there is none or it is damaged."""
    try:
        return _parsed(stream) if stream else CoreProperties()
    except (struct.error, ValueError, LookupError, OverflowError):
        return CoreProperties()


def _parsed(stream: bytes) -> CoreProperties:
    (start,) = struct.unpack_from("<L", stream, 44)
    _size, count = struct.unpack_from("<LL", stream, start)
    offsets = dict(struct.iter_unpack("<LL", stream[start + 8 : start + 8 + 8 * min(count, _MOST_PROPERTIES)]))
    page = struct.unpack_from("<4xH", stream, start + offsets[_CODE_PAGE])[0] if _CODE_PAGE in offsets else 1252
    codec = {_UTF_8: "utf-8", _UTF_16: "utf-16-le"}.get(page, f"cp{page}")
    title = created = None
    if _TITLE in offsets:
        kind, size = struct.unpack_from("<LL", stream, start + offsets[_TITLE])
        at = start + offsets[_TITLE] + 8
        title = stream[at : at + size].decode(codec, "replace").split("\0")[0] if kind == _TEXT else None
    if _CREATED in offsets:
        kind, ticks = struct.unpack_from("<LQ", stream, start + offsets[_CREATED])
        if kind == _FILE_TIME and ticks:
            created = (_EPOCH + timedelta(microseconds=ticks // 10)).replace(microsecond=0).isoformat()
    return CoreProperties(title=title, created=created)
