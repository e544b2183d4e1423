"""Properties of one item of an Outlook message: of the message, a recipient, an attachment ([MS-OXMSG] 2.4); pure.

Owns the types of values that are read (strings in UTF-16 or in the message's code page, bytes, numbers, times), and
that a value of another type is absent.
"""

from __future__ import annotations

import codecs
from datetime import UTC, datetime, timedelta

from tasks.conversion.outlook.storage import Storage
from tasks.conversion.reading import clean_text

_ENTRY_BYTES = 16
# Bytes before the first entry: of a message, of a message inside another one, of a recipient or attachment.
HEADER_OF_MESSAGE, HEADER_OF_INNER_MESSAGE, HEADER_OF_ITEM = 32, 24, 8
_UNICODE, _STRING, _BINARY, _LONG, _BOOLEAN, _TIME = "001F", "001E", "0102", 0x0003, 0x000B, 0x0040
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_CODE_PAGES = {65001: "utf-8", 20127: "cp1252", 28591: "cp1252", 936: "gb18030", 1200: "utf-16-le", 50220: "iso2022_jp"}
_INTERNET_CODE_PAGE, _MESSAGE_CODE_PAGE = 0x3FDE, 0x3FFD


class Properties:
    """The properties of the item that *storage* holds. Raises `ValueError` where the file is damaged."""

    def __init__(self, storage: Storage, header_bytes: int, codec: str | None = None) -> None:
        self._storage = storage
        self._fixed: dict[int, tuple[int, bytes]] = {}
        stream = storage.stream("__properties_version1.0") or b""
        for at in range(header_bytes, len(stream) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            kind = int.from_bytes(stream[at : at + 2], "little")
            tag = int.from_bytes(stream[at + 2 : at + 4], "little")
            self._fixed[tag] = kind, stream[at + 8 : at + 16]
        self.codec = codec or _codec(self.number(_MESSAGE_CODE_PAGE) or self.number(_INTERNET_CODE_PAGE))

    def text(self, *tags: int) -> str:
        """Return the first of these strings that is not empty."""
        for tag in tags:
            unicode = self._storage.stream(f"__substg1.0_{tag:04X}{_UNICODE}")
            if unicode:
                text = unicode.decode("utf-16-le", "replace")
            else:
                text = (self._storage.stream(f"__substg1.0_{tag:04X}{_STRING}") or b"").decode(self.codec, "replace")
            if text := clean_text(text.rstrip("\0")):
                return text
        return ""

    def data(self, tag: int) -> bytes:
        """Return a binary value; empty when it is absent."""
        return self._storage.stream(f"__substg1.0_{tag:04X}{_BINARY}") or b""

    def number(self, tag: int) -> int | None:
        kind, value = self._fixed.get(tag, (0, b""))
        return int.from_bytes(value[:4], "little") if kind == _LONG else None

    def is_set(self, tag: int) -> bool:
        kind, value = self._fixed.get(tag, (0, b""))
        return kind == _BOOLEAN and value[0] != 0

    def moment(self, *tags: int) -> datetime | None:
        """Return the first of these times that is there and possible."""
        for tag in tags:
            kind, value = self._fixed.get(tag, (0, b""))
            if kind == _TIME and (ticks := int.from_bytes(value, "little")):
                try:
                    return _EPOCH + timedelta(microseconds=ticks // 10)
                except OverflowError:
                    continue
        return None

    def page(self) -> str:
        """Return the HTML of the body, decoded by the message's own code page for it; empty when there is none."""
        if text := self.text(0x1013):
            return text
        codec = _codec(self.number(_INTERNET_CODE_PAGE) or self.number(_MESSAGE_CODE_PAGE))
        data = self.data(0x1013)
        try:
            return clean_text(data.decode("utf-8" if codec == "cp1252" else codec))
        except ValueError:
            return clean_text(data.decode(codec, "replace"))


def _codec(code_page: int | None) -> str:
    name = _CODE_PAGES.get(code_page or 0, f"cp{code_page}")
    try:
        return codecs.lookup(name).name
    except LookupError:
        return "cp1252"
