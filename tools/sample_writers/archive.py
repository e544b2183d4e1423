"""Zip archives whose bytes depend on nothing but their members.

Owns the packing of every zip-based sample. Members carry one fixed time and lie uncompressed, because two builds of
zlib need not compress the same bytes alike, and the samples are compared byte by byte with what is committed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable

# The earliest time that the format can hold: it cannot be mistaken for a real one.
MEMBER_TIME = (1980, 1, 1, 0, 0, 0)


def pack(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip with *members* in the given order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, MEMBER_TIME)
            info.create_system = 3  # otherwise the platform that runs this would show in the bytes
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def repack(content: bytes) -> bytes:
    """The same members in the same order, without the time and the compression of the library that wrote them."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return pack((info.filename, archive.read(info)) for info in archive.infolist())
