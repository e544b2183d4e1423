"""PDF, zip and compound files byte by byte, so that each may be wrong in exactly one place.

Libraries that write these formats refuse to write them wrongly, or take seconds for what unpacks to a gigabyte.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Zip, after PKWARE's APPNOTE 6.3 --------------------------------------------------------------------------------------

STORED, DEFLATED = 0, 8
# 1980-01-01 in the date format of zip.
_ZIP_DATE = (1 << 5) | 1
ENCRYPTED_FLAG = 0x1


@dataclass(frozen=True, kw_only=True)
class Member:
    """A zip member as its headers tell it; nothing is checked."""

    name: str
    data: bytes
    crc: int
    size: int
    method: int = DEFLATED
    flags: int = 0


def member(name: str, data: bytes | str, *, flags: int = 0) -> Member:
    """An ordinary, deflated member."""
    plain = data.encode() if isinstance(data, str) else data
    packed = _raw_deflate([plain])
    return Member(name=name, data=packed, crc=zlib.crc32(plain), size=len(plain), flags=flags)


def repeated_member(name: str, head: bytes, unit: bytes, times: int, tail: bytes) -> Member:
    """A member that unpacks to *head*, *unit* *times* over, and *tail*, at the cost of packing *unit* once."""
    crc = zlib.crc32(head)
    for _ in range(times):
        crc = zlib.crc32(unit, crc)
    return Member(
        name=name,
        data=repeated_deflate(head, unit, times, tail),
        crc=zlib.crc32(tail, crc),
        size=len(head) + len(unit) * times + len(tail),
    )


def repeated_deflate(head: bytes, unit: bytes, times: int, tail: bytes) -> bytes:
    """A raw deflate stream. A full flush ends on a byte and forgets what was before, so blocks can be repeated."""
    return _flushed(head) + _flushed(unit) * times + _raw_deflate([tail])


def _flushed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def _raw_deflate(parts: Iterable[bytes]) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return b"".join(packer.compress(part) for part in parts) + packer.flush()


def zip_archive(members: Sequence[Member]) -> bytes:
    """The archive of *members* in order, with whatever their headers claim."""
    body, directory = bytearray(), bytearray()
    for entry in members:
        name = entry.name.encode()
        common = struct.pack(
            "<HHHHHIIIHH",
            20,
            entry.flags | 0x800,  # names are UTF-8
            entry.method,
            0,
            _ZIP_DATE,
            entry.crc,
            len(entry.data),
            entry.size,
            len(name),
            0,
        )
        central = struct.pack("<4sH", b"PK\1\2", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name
        directory += central
        body += b"PK\3\4" + common + name + entry.data
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return bytes(body + directory) + end


# PDF 1.7, ISO 32000-1 -------------------------------------------------------------------------------------------------


def pdf_document(objects: Sequence[bytes], *, root: int = 1) -> bytes:
    """A PDF of numbered *objects* (from 1), with a sound cross-reference table."""
    body = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    offsets: list[int] = []
    for number, item in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n" % number + item + b"\nendobj\n"
    table = len(body)
    body += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    body += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    body += b"trailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, root, table)
    return bytes(body)


def pdf_stream(data: bytes, entries: bytes = b"") -> bytes:
    """A stream object's body."""
    return b"<< /Length %d %s >>\nstream\n" % (len(data), entries) + data + b"\nendstream"


def pdf_pages(texts: Sequence[str]) -> list[bytes]:
    """Objects of a document with one line of Helvetica on each page: catalog, tree, font, then page and content."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * index) for index in range(len(texts)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(texts), kids),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for index, text in enumerate(texts):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            b"/Contents %d 0 R >>" % (5 + 2 * index)
        )
        objects.append(pdf_stream(b"BT /F1 12 Tf 72 760 Td (%s) Tj ET" % text.encode("latin-1")))
    return objects


# Compound file, MS-CFB version 3 --------------------------------------------------------------------------------------

_SECTOR = 512
# Streams below this lie in a second, smaller allocation; ours are padded so that it is not needed.
_MINI_CUTOFF = 4096
_END_OF_CHAIN, _FREE, _FAT_SECTOR, _NO_STREAM = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD, 0xFFFFFFFF


def compound_file(streams: dict[str, bytes]) -> bytes:
    """A compound file (the container of old Office formats and of encrypted new ones) with at most three *streams*."""
    padded = {name: data.ljust(_MINI_CUTOFF, b" ") for name, data in streams.items()}
    fat = [_FAT_SECTOR, _END_OF_CHAIN]  # sector 0 is the FAT, sector 1 the directory
    entries, body = b"", b""
    # A directory is a tree ordered by length and then by letter; a chain of right siblings is such a tree.
    ordered = sorted(padded, key=lambda name: (len(name), name.upper()))
    for index, name in enumerate(ordered, start=1):
        data = padded[name]
        start, count = len(fat), -(-len(data) // _SECTOR)
        fat += [*range(start + 1, start + count), _END_OF_CHAIN]
        right = index + 1 if index < len(ordered) else _NO_STREAM
        entries += _directory_entry(name, 2, right, _NO_STREAM, start, len(data))
        body += data.ljust(count * _SECTOR, b"\0")
    root = _directory_entry("Root Entry", 5, _NO_STREAM, 1, _END_OF_CHAIN, 0)
    directory = (root + entries).ljust(_SECTOR, b"\0")
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(_SECTOR, b"\xff")
    if len(table) > _SECTOR or len(directory) > _SECTOR:
        raise ValueError("more streams or sectors than one FAT sector and one directory sector hold")
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        0x3E, 3, 0xFFFE, 9, 6,
        0, 1, 1, 0, _MINI_CUTOFF, _END_OF_CHAIN, 0, _END_OF_CHAIN, 0, 0,
    )  # fmt: skip
    return header + struct.pack("<108I", *[_FREE] * 108) + table + directory + body


def _directory_entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
    encoded = name.encode("utf-16-le")
    return struct.pack(
        "<64sHBBIII16xIQQIQ", encoded, len(encoded) + 2, kind, 1, _NO_STREAM, right, child, 0, 0, 0, start, size
    )
