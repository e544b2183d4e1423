"""Recognition of documents that are ZIP files: Office Open XML, OpenDocument, EPUB, iWork, HWPX; pure.

Owns reading a ZIP directory within fixed bounds (PKWARE APPNOTE 4.3.12, 4.3.16 and 4.3.14-15 for ZIP64). Nothing is
unpacked but the first bytes of the few small members that name the type, so an archive bomb costs nothing here.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from blocks.errors import EncryptedDocument, UnreadableDocument, UnsupportedType
from blocks.filetype.types import TYPES, FileType, supported_summary

# The end record may be followed by a comment of at most 65,535 bytes.
_END_SEARCH_BYTES = 22 + 65_535
# Some ten thousand names: a document has dozens to a few thousand members, a hostile file may claim billions.
_MAX_DIRECTORY_BYTES = 1 << 20
# `[Content_Types].xml` lists every part; 256 KiB hold more parts than a real document has.
_MAX_MEMBER_BYTES = 256 << 10
_STORED, _DEFLATED = 0, 8
_FLAG_ENCRYPTED = 0x1

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_OOXML_MAIN_PARTS: tuple[tuple[str, str], ...] = (
    ("wordprocessingml.document.main+xml", "docx"),
    ("wordprocessingml.template.main+xml", "dotx"),
    ("ms-word.document.macroEnabled.main+xml", "docm"),
    ("ms-word.template.macroEnabledTemplate.main+xml", "dotm"),
    ("presentationml.presentation.main+xml", "pptx"),
    ("presentationml.slideshow.main+xml", "ppsx"),
    ("presentationml.template.main+xml", "potx"),
    ("ms-powerpoint.presentation.macroEnabled.main+xml", "pptm"),
    ("ms-powerpoint.slideshow.macroEnabled.main+xml", "pptm"),
    ("ms-powerpoint.template.macroEnabled.main+xml", "potm"),
    ("spreadsheetml.sheet.main+xml", "xlsx"),
    ("spreadsheetml.template.main+xml", "xltx"),
    ("ms-excel.sheet.macroEnabled.main+xml", "xlsm"),
    ("ms-excel.template.macroEnabled.main+xml", "xltm"),
    ("ms-excel.addin.macroEnabled.main+xml", "xlam"),
    ("ms-excel.sheet.binary.macroEnabled.main", "xlsb"),
)
_OOXML_MAIN_NAMES = (("word/document.xml", "docx"), ("ppt/presentation.xml", "pptx"), ("xl/workbook.xml", "xlsx"))
_MIMETYPE_MEMBERS: dict[str, str] = {
    "application/epub+zip": "epub",
    "application/hwp+zip": "hwpx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.text-template": "odt",
    "application/vnd.oasis.opendocument.text-master": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.spreadsheet-template": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.presentation-template": "odp",
}
# XML encryption algorithms; font obfuscation, which EPUB readers undo without a key, uses other addresses.
_XML_ENCRYPTION = re.compile(rb'Algorithm\s*=\s*["\']http://www\.w3\.org/2001/04/xmlenc#')


@dataclass(frozen=True)
class _Member:
    name: str
    flags: int
    method: int
    compressed_bytes: int
    offset: int


def identify(file: BinaryIO, size: int, extension: str, shown: str) -> FileType:
    """Return the type of a ZIP-based document of *size* bytes; *extension* decides only between the three iWork types.

    Raises `UnreadableDocument` (cut off or damaged), `EncryptedDocument`, `UnsupportedType` (a plain archive).
    """
    members = {member.name: member for member in _directory(file, size, shown)}
    kind = _by_mimetype(file, members) or _by_content_types(file, members) or _iwork(members, extension)
    if kind is None:
        raise UnsupportedType(
            f"{shown!r} is a ZIP archive and not a document; unpack it and send the files in it. "
            f"Supported: {supported_summary()}",
            guessed="ZIP archive",
        )
    if _is_encrypted(file, members):
        raise EncryptedDocument(
            f"{shown!r} is a password-protected {TYPES[kind].label}; save it without a password and send it again"
        )
    return TYPES[kind]


def _directory(file: BinaryIO, size: int, shown: str) -> list[_Member]:
    damaged = UnreadableDocument(
        f"{shown!r} begins like a ZIP-based document (Office, OpenDocument, EPUB), but its directory at the end is "
        f"missing or damaged after {size} bytes; the file was probably cut off, so send it again"
    )
    tail_start = max(0, size - _END_SEARCH_BYTES)
    file.seek(tail_start)
    tail = file.read(_END_SEARCH_BYTES)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise damaged
    fields = _END.unpack_from(tail, at)
    directory_bytes, end = int(fields[5]), tail_start + at
    if 0xFFFFFFFF in fields[5:7] or fields[4] == 0xFFFF:
        directory_bytes, end = _zip64_directory(file, end, directory_bytes)
    start = end - directory_bytes
    if start < 0:
        raise damaged
    file.seek(start)
    members = list(_entries(file.read(min(directory_bytes, _MAX_DIRECTORY_BYTES))))
    if not members and directory_bytes:
        raise damaged
    return members


def _zip64_directory(file: BinaryIO, end: int, directory_bytes: int) -> tuple[int, int]:
    """Return size and end of the directory from the ZIP64 records in front of the end record, if there are any."""
    if end < 20:
        return directory_bytes, end
    file.seek(end - 20)
    locator = file.read(20)
    if locator[:4] != b"PK\x06\x07":
        return directory_bytes, end
    record_at = int.from_bytes(locator[8:16], "little")
    if record_at >= end:
        return directory_bytes, end
    file.seek(record_at)
    record = file.read(56)
    if len(record) < 56 or record[:4] != b"PK\x06\x06":
        return directory_bytes, end
    return int.from_bytes(record[40:48], "little"), record_at


def _entries(directory: bytes) -> Iterator[_Member]:
    at = 0
    while at + _ENTRY.size <= len(directory):
        fields = _ENTRY.unpack_from(directory, at)
        if fields[0] != b"PK\x01\x02":
            return
        name_bytes, extra_bytes, comment_bytes = fields[10], fields[11], fields[12]
        name = directory[at + _ENTRY.size : at + _ENTRY.size + name_bytes].decode("utf-8", "replace")
        yield _Member(name=name, flags=fields[3], method=fields[4], compressed_bytes=fields[8], offset=fields[16])
        at += _ENTRY.size + name_bytes + extra_bytes + comment_bytes


def _read_member(file: BinaryIO, member: _Member | None) -> bytes:
    """Return the first `_MAX_MEMBER_BYTES` of a member; empty when it is absent, encrypted or damaged."""
    if member is None or member.flags & _FLAG_ENCRYPTED:
        return b""
    file.seek(member.offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        return b""
    fields = _LOCAL.unpack(header)
    file.seek(fields[9] + fields[10], 1)
    data = file.read(min(member.compressed_bytes, _MAX_MEMBER_BYTES))
    if member.method == _STORED:
        return data
    if member.method != _DEFLATED:
        return b""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _MAX_MEMBER_BYTES)
    except zlib.error:
        return b""


def _by_mimetype(file: BinaryIO, members: dict[str, _Member]) -> str | None:
    """Return the type by OpenDocument 1.3 part 2 section 3.3 and EPUB OCF 3.3: the member ``mimetype`` names it."""
    declared = _read_member(file, members.get("mimetype"))[:100].decode("ascii", "replace").strip()
    return _MIMETYPE_MEMBERS.get(declared)


def _by_content_types(file: BinaryIO, members: dict[str, _Member]) -> str | None:
    """Return the type by ECMA-376 part 2 section 10.1.2: ``[Content_Types].xml`` has that of the main part."""
    if "[Content_Types].xml" not in members:
        return None
    declared = _read_member(file, members["[Content_Types].xml"]).decode("utf-8", "replace")
    for main_part, kind in _OOXML_MAIN_PARTS:
        if main_part in declared:
            return kind
    return next((kind for name, kind in _OOXML_MAIN_NAMES if name in members), None)


def _iwork(members: dict[str, _Member], extension: str) -> str | None:
    if "Index/Document.iwa" not in members and "Index.zip" not in members:
        return None
    if extension in {"pages", "numbers", "key"}:
        return extension
    return "key" if any(name.startswith("Index/Slide") for name in members) else "pages"


def _is_encrypted(file: BinaryIO, members: dict[str, _Member]) -> bool:
    main_names = ("word/document.xml", "ppt/presentation.xml", "xl/workbook.xml", "content.xml")
    if any(members[name].flags & _FLAG_ENCRYPTED for name in main_names if name in members):
        return True
    manifest = _read_member(file, members.get("META-INF/manifest.xml"))
    rights = _read_member(file, members.get("META-INF/encryption.xml"))
    return b"encryption-data" in manifest or _XML_ENCRYPTION.search(rights) is not None
