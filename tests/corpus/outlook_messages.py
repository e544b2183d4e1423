"""Outlook messages (.msg) as their programs write them: a compound file with storages, and compressed RTF.

Streams are small, so they are in the mini stream, as those of most messages are.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

Tree: TypeAlias = "Mapping[str, bytes | Tree]"

SENT = datetime(2024, 3, 9, 16, 45, tzinfo=UTC)
_FREE, _END, _FAT_MARK = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_SECTOR, _MINI = 512, 64
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_RTF_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n"
    b"\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """An attachment: a file with its type, or a message."""

    name: str = ""
    kind: str = ""
    content_id: str = ""
    message: Tree | None = None


def message(
    subject: str,
    *,
    plain: str = "",
    page: bytes = b"",
    rtf: bytes = b"",
    code_page: int = 65001,
    sender: tuple[str, str] = ("Ada Keeper", "ada@example.org"),
    to: tuple[tuple[str, str], ...] = (("Club", "club@example.org"),),
    attachments: tuple[Attachment, ...] = (),
    is_inner: bool = False,
    strings: str = "utf-16-le",
) -> Tree:
    """Return the storages and streams of a message. With *strings* of another codec they are no Unicode strings."""
    item = _Item(strings=strings)
    item.text(0x001A, "IPM.Note")
    item.text(0x0037, subject)
    item.text(0x0C1A, sender[0])
    item.text(0x5D01, sender[1])
    item.text(0x1000, plain)
    item.data(0x1013, page)
    item.data(0x1009, packed(rtf) if rtf else b"")
    item.fixed(0x3FDE, 0x0003, struct.pack("<LL", code_page, 0))
    item.fixed(0x3FFD, 0x0003, struct.pack("<LL", 1252, 0))
    item.fixed(0x0039, 0x0040, struct.pack("<Q", int((SENT - _EPOCH).total_seconds()) * 10_000_000))
    tree: dict[str, bytes | Tree] = dict(item.streams(24 if is_inner else 32))
    for number, (name, address) in enumerate(to):
        one = _Item(strings=strings)
        one.text(0x3001, name)
        one.text(0x39FE, address)
        one.fixed(0x0C15, 0x0003, struct.pack("<LL", 1, 0))
        tree[f"__recip_version1.0_#{number:08X}"] = one.streams(8)
    for number, attached in enumerate(attachments):
        tree[f"__attach_version1.0_#{number:08X}"] = _attached(attached, strings)
    return tree


def _attached(attached: Attachment, strings: str) -> Tree:
    item = _Item(strings=strings)
    item.text(0x3707, attached.name)
    item.text(0x370E, attached.kind)
    item.text(0x3712, attached.content_id)
    item.fixed(0x3705, 0x0003, struct.pack("<LL", 1 if attached.message is None else 5, 0))
    tree: dict[str, bytes | Tree] = dict(item.streams(8))
    if attached.message is None:
        tree["__substg1.0_37010102"] = b"content"
    else:
        tree["__substg1.0_3701000D"] = attached.message
    return tree


@dataclass
class _Item:
    strings: str
    values: dict[str, bytes] = field(default_factory=dict[str, bytes])
    entries: list[bytes] = field(default_factory=list[bytes])

    def text(self, tag: int, text: str) -> None:
        kind = 0x001F if self.strings == "utf-16-le" else 0x001E
        if text:
            self._stream(tag, kind, text.encode(self.strings))

    def data(self, tag: int, data: bytes) -> None:
        if data:
            self._stream(tag, 0x0102, data)

    def fixed(self, tag: int, kind: int, value: bytes) -> None:
        self.entries.append(struct.pack("<HHL8s", kind, tag, 6, value))

    def _stream(self, tag: int, kind: int, data: bytes) -> None:
        self.values[f"__substg1.0_{tag:04X}{kind:04X}"] = data
        self.entries.append(struct.pack("<HHLLL", kind, tag, 6, len(data), 0))

    def streams(self, header_bytes: int) -> dict[str, bytes]:
        return {"__properties_version1.0": b"\0" * header_bytes + b"".join(self.entries), **self.values}


def packed(rtf: bytes) -> bytes:
    """Return *rtf* compressed ([MS-OXRTFCP] 3.2), with the longest reference of each place."""
    ring = bytearray(_RTF_DICTIONARY.ljust(4096, b" "))
    write, at, out, tokens = len(_RTF_DICTIONARY), 0, bytearray(), list[bytes | int]()
    while at < len(rtf):
        length, offset = 0, 0
        for size in range(min(17, len(rtf) - at), 1, -1):
            found = ring[: min(write, 4096)].find(rtf[at : at + size])
            if found >= 0 and not found <= write % 4096 < found + size:
                length, offset = size, found
                break
        taken = rtf[at : at + max(1, length)]
        tokens.append((offset << 4 | length - 2).to_bytes(2, "big") if length else taken[0])
        for byte in taken:
            ring[write % 4096] = byte
            write += 1
        at += len(taken)
    tokens.append((write % 4096 << 4).to_bytes(2, "big"))
    for first in range(0, len(tokens), 8):
        group = tokens[first : first + 8]
        out.append(sum(1 << bit for bit, token in enumerate(group) if isinstance(token, bytes)))
        out += b"".join(token if isinstance(token, bytes) else bytes([token]) for token in group)
    return struct.pack("<LL4sL", len(out) + 12, len(rtf), b"LZFu", 0) + bytes(out)


@dataclass
class _Entry:
    name: str
    kind: int
    right: int = _FREE
    child: int = _FREE
    start: int = 0
    size: int = 0

    def __bytes__(self) -> bytes:
        name = self.name.encode("utf-16-le")
        return name.ljust(64, b"\0") + struct.pack(
            "<HBB3L16xL8x8xLQ", len(name) + 2, self.kind, 1, _FREE, self.right, self.child, 0, self.start, self.size
        )


def compound_file(tree: Tree) -> bytes:
    """Return a compound file ([MS-CFB], version 3) of *tree*."""
    entries = [_Entry("Root Entry", 5)]
    minis, mini_fat, sectors, fat = bytearray(), list[int](), bytearray(), list[int]()

    def add(parent: _Entry, members: Tree) -> None:
        before: _Entry | None = None
        for name, content in members.items():
            number, entry = len(entries), _Entry(name, 2 if isinstance(content, bytes) else 1)
            entries.append(entry)
            if before is None:
                parent.child = number
            else:
                before.right = number
            before = entry
            if not isinstance(content, bytes):
                add(entry, content)
                continue
            entry.size = len(content)
            is_mini = len(content) < 4096
            entry.start = _chain(content, _MINI, minis, mini_fat) if is_mini else _chain(content, _SECTOR, sectors, fat)

    add(entries[0], tree)
    entries[0].start, entries[0].size = _chain(bytes(minis), _SECTOR, sectors, fat), len(minis)
    mini_table = struct.pack(f"<{len(mini_fat)}L", *mini_fat)
    mini_table += b"\xff" * (-len(mini_table) % _SECTOR)
    first_mini = _chain(mini_table, _SECTOR, sectors, fat)
    directory = b"".join(map(bytes, entries))
    directory += b"\0" * (-len(directory) % _SECTOR)
    first_directory = _chain(directory, _SECTOR, sectors, fat)
    parts = -(-(len(fat) + 8) // 127)
    first_fat = len(fat)
    fat += [_FAT_MARK] * parts
    fat += [_FREE] * (-len(fat) % 128)
    places = [first_fat + part for part in range(parts)]
    header = bytes.fromhex("d0cf11e0a1b11ae1") + struct.pack(
        "<16xHHHHH6xLLLLLLLLL", 62, 3, 0xFFFE, 9, 6, 0, parts, first_directory, 0, 4096, first_mini,
        len(mini_table) // _SECTOR, _END, 0,
    )  # fmt: skip
    header += struct.pack("<109L", *places, *[_FREE] * (109 - parts))
    table = struct.pack(f"<{len(fat)}L", *fat)[: parts * _SECTOR].ljust(parts * _SECTOR, b"\xff")
    return header + bytes(sectors) + table


def _chain(content: bytes, size: int, data: bytearray, table: list[int]) -> int:
    """Add *content* in pieces of *size*, and return its first piece."""
    count = -(-len(content) // size)
    if not count:
        return _END
    first = len(table)
    table += [*range(first + 1, first + count), _END]
    data += content.ljust(count * size, b"\0")
    return first
