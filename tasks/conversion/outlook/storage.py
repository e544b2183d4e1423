"""Storages and streams of a compound file ([MS-CFB]), read one by one within bounds.

Owns the way from a name to its bytes: the tree of the directory (2.6), chains of sectors (2.3) and of mini sectors
(2.4). A chain that leads back to itself or out of the file ends with `ValueError`, as does every other damage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from blocks.filetype.compound_file import (
    DIRECTORY_ENTRY_BYTES,
    HEADER_BYTES,
    LAST_REGULAR_SECTOR,
    SectorReader,
    u32,
)

_MINI_SECTOR_BYTES = 64
_NO_ENTRY = 0xFFFFFFFF
_STORAGE, _STREAM, _ROOT = 1, 2, 5
# A message with a thousand recipients has 20,000 entries.
_MAX_ENTRIES = 500_000
# Text of a message. Attachments are not read.
MAX_STREAM_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    kind: int
    left: int
    right: int
    child: int
    start: int
    size: int


class CompoundFile:
    """An open compound file; `root` is its outermost storage. Raises `ValueError` for a damaged one."""

    def __init__(self, file: BinaryIO, *, max_stream_bytes: int = MAX_STREAM_BYTES) -> None:
        self._max_stream_bytes = max_stream_bytes
        file.seek(0)
        header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            raise ValueError("short header")
        self._sectors = SectorReader(file, header)
        self._fat = lru_cache(maxsize=1)(self._fat_part)
        self._entries = list(self._directory())
        if not self._entries or self._entries[0].kind != _ROOT:
            raise ValueError("no root entry")
        self._mini_stream: bytes | None = None
        self._mini_fat: bytes | None = None
        self.root = Storage(self, 0)

    def children(self, number: int) -> dict[str, int]:
        """Return the entries of a storage by name."""
        found: dict[str, int] = {}
        waiting, seen = [self._entries[number].child], set[int]()
        while waiting:
            at = waiting.pop()
            if at == _NO_ENTRY or at in seen or at >= len(self._entries):
                continue
            seen.add(at)
            entry = self._entries[at]
            found.setdefault(entry.name, at)
            waiting += [entry.left, entry.right]
        return found

    def is_storage(self, number: int) -> bool:
        return self._entries[number].kind in (_STORAGE, _ROOT)

    def stream(self, number: int) -> bytes:
        """Return a stream's bytes. Raises `ValueError` for one that is damaged or larger than the limit."""
        entry = self._entries[number]
        if entry.kind != _STREAM:
            raise ValueError("no stream")
        if entry.size > self._max_stream_bytes:
            raise ValueError("stream length")
        if entry.size >= self._sectors.mini_cutoff_bytes:
            return self._chain(entry.start, entry.size)
        return self._mini_chain(entry.start, entry.size)

    def _directory(self) -> Iterator[_Entry]:
        count = 0
        for sector in self._chain_sectors(self._sectors.first_directory_sector):
            for at in range(0, len(sector) - DIRECTORY_ENTRY_BYTES + 1, DIRECTORY_ENTRY_BYTES):
                count += 1
                if count > _MAX_ENTRIES:
                    raise ValueError("directory length")
                yield _entry(sector[at : at + DIRECTORY_ENTRY_BYTES], is_long=self._sectors.sector_bytes > HEADER_BYTES)

    def _chain_sectors(self, start: int) -> Iterator[bytes]:
        number, seen = start, set[int]()
        while number < LAST_REGULAR_SECTOR:
            if number in seen:
                raise ValueError("sector chain")
            seen.add(number)
            yield self._sectors.sector(number)
            number = self._following(number)

    def _following(self, number: int) -> int:
        per_sector = self._sectors.sector_bytes // 4
        return u32(self._fat(number // per_sector), number % per_sector * 4)

    def _fat_part(self, index: int) -> bytes:
        return self._sectors.sector(self._sectors.fat_sector(index))

    def _chain(self, start: int, size: int) -> bytes:
        data = bytearray()
        for sector in self._chain_sectors(start):
            data += sector
            if len(data) >= size or not sector:
                break
        if len(data) < size:
            raise ValueError("short stream")
        return bytes(data[:size])

    def _mini_chain(self, start: int, size: int) -> bytes:
        if self._mini_stream is None or self._mini_fat is None:
            root = self._entries[0]
            if root.size > self._max_stream_bytes:
                raise ValueError("mini stream length")
            self._mini_stream = self._chain(root.start, root.size)
            self._mini_fat = b"".join(self._chain_sectors(self._sectors.first_mini_fat_sector))
        data, number = bytearray(), start
        while len(data) < size:
            sector = self._mini_stream[number * _MINI_SECTOR_BYTES : (number + 1) * _MINI_SECTOR_BYTES]
            if not sector:
                raise ValueError("short stream")
            data += sector
            number = u32(self._mini_fat, number * 4)
        return bytes(data[:size])


class Storage:
    """One storage: its streams and the storages inside it, by name without regard to case."""

    def __init__(self, file: CompoundFile, number: int) -> None:
        self._file = file
        self._children = {name.lower(): child for name, child in file.children(number).items()}

    def stream(self, name: str) -> bytes | None:
        """Return the bytes of a stream; None if there is none of this name. Raises `ValueError`."""
        number = self._children.get(name.lower())
        return None if number is None or self._file.is_storage(number) else self._file.stream(number)

    def storage(self, name: str) -> Storage | None:
        number = self._children.get(name.lower())
        return None if number is None or not self._file.is_storage(number) else Storage(self._file, number)

    def storages(self, prefix: str) -> list[Storage]:
        """Return the storages whose names begin with *prefix*, in the order of their names."""
        names = sorted(name for name in self._children if name.startswith(prefix.lower()))
        return [found for name in names if (found := self.storage(name)) is not None]

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._children


def _entry(data: bytes, *, is_long: bool) -> _Entry:
    name_bytes = int.from_bytes(data[64:66], "little")
    size = int.from_bytes(data[120 : 128 if is_long else 124], "little")
    return _Entry(
        name=data[: max(0, min(name_bytes, 64) - 2)].decode("utf-16-le", "replace"),
        kind=data[66],
        left=u32(data, 68),
        right=u32(data, 72),
        child=u32(data, 76),
        start=u32(data, 116),
        size=size,
    )
