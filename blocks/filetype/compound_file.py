"""Recognition of documents that are OLE compound files: Office 97-2003, Outlook, Hangul, encrypted Office; pure.

Reads within bounds: the directory ([MS-CFB] 2.2 header, 2.3 FAT, 2.5 DIFAT, 2.6 directory) and streams' first sectors.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from blocks.errors import EncryptedDocument, UnreadableDocument, UnsupportedType
from blocks.filetype.types import TYPES, FileType, supported_summary

MAGIC = bytes.fromhex("d0cf11e0a1b11ae1")

HEADER_BYTES = 512
_HEADER_DIFAT_ENTRIES = 109
DIRECTORY_ENTRY_BYTES = 128
# 256 sectors hold at least 1,024 names; the streams that name the type come in the first few.
_MAX_DIRECTORY_SECTORS = 256
# Each DIFAT sector maps at least 8 MiB of the file, so this reaches past 4 GiB.
_MAX_DIFAT_SECTORS = 600
LAST_REGULAR_SECTOR = 0xFFFFFFFA

# Streams that only one application writes, the most specific first.
_STREAMS: tuple[tuple[str, str], ...] = (
    ("WordDocument", "doc"),
    ("Workbook", "xls"),
    ("Book", "xls"),
    ("PowerPoint Document", "ppt"),
    ("__properties_version1.0", "msg"),
    ("BodyText", "hwp"),
)


@dataclass(frozen=True)
class _Stream:
    start: int
    size: int


class SectorReader:
    """Sector access to one compound file; every position is checked against the file's real length."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self._file = file
        shift = int.from_bytes(header[30:32], "little")
        if shift not in (9, 12):  # version 3 and version 4; nothing else is defined
            raise ValueError("sector size")
        self.sector_bytes = 1 << shift
        self.first_directory_sector = u32(header, 48)
        self.mini_cutoff_bytes = u32(header, 56)
        self.first_mini_fat_sector = u32(header, 60)
        self._first_difat_sector = u32(header, 68)
        self._difat = struct.unpack_from(f"<{_HEADER_DIFAT_ENTRIES}L", header, 76)

    def sector(self, number: int) -> bytes:
        """Return a sector's bytes, fewer at the file's end. Raises `ValueError` for a number that is none."""
        if number >= LAST_REGULAR_SECTOR:
            raise ValueError("sector number")
        self._file.seek((number + 1) * self.sector_bytes)
        return self._file.read(self.sector_bytes)

    def next_sector(self, number: int) -> int:
        """Return the sector that follows in the chain. Raises `ValueError`."""
        per_sector = self.sector_bytes // 4
        return u32(self.sector(self.fat_sector(number // per_sector)), number % per_sector * 4)

    def fat_sector(self, index: int) -> int:
        """Return the number of the sector that holds part *index* of the FAT. Raises `ValueError`."""
        if index < _HEADER_DIFAT_ENTRIES:
            return self._difat[index]
        per_sector = self.sector_bytes // 4 - 1  # the last entry links to the next DIFAT sector
        steps, position = divmod(index - _HEADER_DIFAT_ENTRIES, per_sector)
        if steps > _MAX_DIFAT_SECTORS:
            raise ValueError("DIFAT length")
        sector = self._first_difat_sector
        for _ in range(steps):
            sector = u32(self.sector(sector), per_sector * 4)
        return u32(self.sector(sector), position * 4)


def u32(data: bytes, at: int) -> int:
    """Return the 32-bit number at *at*, little-endian. Raises `ValueError` where the data ends before it."""
    if at + 4 > len(data):
        raise ValueError("short sector")
    return int.from_bytes(data[at : at + 4], "little")


def identify(file: BinaryIO, shown: str) -> FileType:
    """Return the type of a compound file. Raises `EncryptedDocument`, `UnreadableDocument`, `UnsupportedType`."""
    file.seek(0)
    header = file.read(HEADER_BYTES)
    try:
        if len(header) < HEADER_BYTES:
            raise ValueError("short header")
        reader = SectorReader(file, header)
        streams = _directory(reader)
    except ValueError as exc:
        raise UnreadableDocument(
            f"{shown!r} begins like an Office 97-2003 or Outlook file, but its directory is damaged ({exc}); "
            "the file was probably cut off, so send it again"
        ) from exc
    if "EncryptedPackage" in streams:
        raise EncryptedDocument(_locked(shown, "Office document"))
    kind = next((kind for stream, kind in _STREAMS if stream in streams), None)
    if kind is None:
        raise UnsupportedType(
            f"{shown!r} is an OLE compound file of an application whose files no converter reads. "
            f"Supported: {supported_summary()}",
            guessed="OLE compound file",
        )
    if _wants_password(reader, streams, kind):
        raise EncryptedDocument(_locked(shown, TYPES[kind].label))
    return TYPES[kind]


def _locked(shown: str, label: str) -> str:
    return f"{shown!r} is a password-protected {label}; save it without a password and send it again"


def _directory(reader: SectorReader) -> dict[str, _Stream]:
    streams: dict[str, _Stream] = {}
    sector, seen = reader.first_directory_sector, set[int]()
    while sector < LAST_REGULAR_SECTOR and sector not in seen and len(seen) < _MAX_DIRECTORY_SECTORS:
        seen.add(sector)
        data = reader.sector(sector)
        for at in range(0, len(data) - DIRECTORY_ENTRY_BYTES + 1, DIRECTORY_ENTRY_BYTES):
            name_bytes = int.from_bytes(data[at + 64 : at + 66], "little")
            if 2 < name_bytes <= 64:
                name = data[at : at + name_bytes - 2].decode("utf-16-le", "replace")
                size = int.from_bytes(data[at + 120 : at + 128], "little")
                streams.setdefault(name, _Stream(start=u32(data, at + 116), size=size))
        sector = reader.next_sector(sector)
    if not streams:
        raise ValueError("no directory entries")
    return streams


def _wants_password(reader: SectorReader, streams: dict[str, _Stream], kind: str) -> bool:
    """By [MS-DOC] 2.5.1 fEncrypted, [MS-XLS] 2.4.117 FilePass right after BOF, [MS-PPT] 2.3.7 encrypted summary."""
    if kind == "ppt":
        return "EncryptedSummary" in streams
    stream = streams.get("WordDocument" if kind == "doc" else "Workbook")
    if stream is None or stream.size < reader.mini_cutoff_bytes:  # small streams are elsewhere; the converter fails
        return False
    try:
        start = reader.sector(stream.start)
    except ValueError:
        return False
    if kind == "doc":
        return len(start) > 12 and bool(int.from_bytes(start[10:12], "little") & 0x0100)
    second_record = 4 + int.from_bytes(start[2:4], "little")
    return start[:2] == b"\x09\x08" and start[second_record : second_record + 2] == b"\x2f\x00"
