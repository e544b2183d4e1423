"""Unpacking of compressed RTF ([MS-OXRTFCP]); pure.

Owns the two forms of the format, LZFu and uncompressed, and its end mark: a reference to the place that is written
next. The result is never longer than the header declares, and never longer than the bound here.
"""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<LL4sL")
# Section 2.1.3.1.
_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript "
    b"\\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0\r\n"
    b"\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_RING_BYTES = 4096
# A letter as RTF has some hundred kB; pictures inside it are attachments.
_MAX_BYTES = 64 << 20


def unpacked(data: bytes) -> bytes:
    """Return the RTF of a compressed stream. Raises `ValueError` for a header that is none."""
    if len(data) < _HEADER.size:
        raise ValueError("short header")
    _, size, form, _ = _HEADER.unpack_from(data)
    size = min(size, _MAX_BYTES)
    if form == b"MELA":
        return data[_HEADER.size : _HEADER.size + size]
    if form != b"LZFu":
        raise ValueError("unknown form")
    ring = bytearray(_DICTIONARY.ljust(_RING_BYTES, b" "))
    write, at, out = len(_DICTIONARY), _HEADER.size, bytearray()
    while at < len(data) and len(out) < size:
        control, at = data[at], at + 1
        for bit in range(8):
            if control >> bit & 1:
                if at + 2 > len(data):
                    return bytes(out[:size])
                reference, at = int.from_bytes(data[at : at + 2], "big"), at + 2
                offset, length = reference >> 4, (reference & 0xF) + 2
                if offset == write % _RING_BYTES:
                    return bytes(out[:size])
                for step in range(length):
                    byte = ring[(offset + step) % _RING_BYTES]
                    ring[write % _RING_BYTES] = byte
                    write += 1
                    out.append(byte)
            else:
                if at >= len(data):
                    return bytes(out[:size])
                ring[write % _RING_BYTES] = data[at]
                write += 1
                out.append(data[at])
                at += 1
    return bytes(out[:size])
