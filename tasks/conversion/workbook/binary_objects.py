"""What is drawn on the sheets of an Excel 97-2003 workbook ([MS-XLS] 2.4.181, 2.4.329); pure.

xlrd reads over it. The text of boxes is kept; charts, pictures and embedded objects are counted.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator

_BOUND_SHEET, _BEGIN, _OBJECT, _TEXT_OBJECT, _CONTINUE = 0x85, 0x809, 0x5D, 0x1B6, 0x3C
_WORKSHEET, _CHART_SHEET = 0, 2
_COMMON_PART = 0x15
_LOSSES = {5: "chart", 8: "image"}
_NOTE = 25
_Record = tuple[int, int, bytes]  # place, type, contents


class DrawnObjects:
    """The objects in a workbook's stream: `texts` of boxes by their worksheet's number from 0, and what was `lost`."""

    def __init__(self, stream: bytes) -> None:
        self.texts: defaultdict[int, list[str]] = defaultdict(list)
        self.lost: Counter[str] = Counter()
        self._read(stream)

    def _read(self, stream: bytes) -> None:
        sheets: dict[int, int] = {}  # the number of a worksheet by its place
        sheet, kind = 0, -1
        records = _records(stream)
        for place, record, data in records:
            if record == _BOUND_SHEET and len(data) > 5:
                if data[5] == _WORKSHEET:
                    sheets[struct.unpack_from("<L", data)[0]] = len(sheets)
                self.lost["chart"] += data[5] == _CHART_SHEET
            elif record == _BEGIN and place in sheets:
                sheet = sheets[place]
            elif record == _OBJECT and len(data) > 5 and struct.unpack_from("<H", data)[0] == _COMMON_PART:
                kind = struct.unpack_from("<H", data, 4)[0]
                if kind in _LOSSES:
                    self.lost[_LOSSES[kind]] += 1
            elif record == _TEXT_OBJECT and kind != _NOTE and len(data) > 11:
                self.texts[sheet].append(_text(records, struct.unpack_from("<H", data, 10)[0]))


def _records(stream: bytes) -> Iterator[_Record]:
    """Yield the records of the stream, as far as it is whole."""
    at = 0
    while at + 4 <= len(stream):
        record, size = struct.unpack_from("<HH", stream, at)
        if not record and not size:  # padding
            return
        yield at, record, stream[at + 4 : at + 4 + size]
        at += 4 + size


def _text(records: Iterator[_Record], characters: int) -> str:
    """Return the text that the next records hold: each a flag and characters of one byte or two."""
    text = ""
    while len(text) < characters:
        _, record, data = next(records, (0, 0, b""))
        if record != _CONTINUE or not data:
            break
        text += data[1:].decode("utf-16-le" if data[0] & 1 else "latin-1", "replace")
    return text[:characters].replace("\r", "\n").strip()
