"""The message inside a signed S/MIME envelope (RFC 8551 section 3.5.2; CMS, RFC 5652 section 5); pure.

Owns the few levels of ASN.1 above the content, in definite and indefinite lengths (X.690). Signatures are not verified:
what a message says does not depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_DATA = bytes.fromhex("2a864886f70d010701")
_OID, _OCTETS, _SEQUENCE, _CONSTRUCTED, _EXPLICIT = 0x06, 0x04, 0x30, 0x20, 0xA0
# The content is some levels deep, its pieces one more.
_MAX_DEPTH = 12


@dataclass(frozen=True, slots=True)
class _Value:
    """An ASN.1 value: its tag, where its content is, and where the next value begins."""

    tag: int
    start: int
    end: int
    after: int


def signed_content(data: bytes) -> bytes | None:
    """Return the content that *data* signs; None if it is no signed envelope, or is damaged."""
    try:
        return _content(data)
    except (ValueError, StopIteration, IndexError):
        return None


def _content(data: bytes) -> bytes | None:
    outer = iter(_values(data, *_inside(data, 0, _SEQUENCE)))
    if not _is(data, next(outer), _SIGNED_DATA):
        return None
    explicit = next(outer)
    signed = _values(data, *_inside(data, explicit.start, _SEQUENCE))
    next(signed)  # version
    next(signed)  # algorithms of digests
    encapsulated = next(signed)
    parts = _values(data, encapsulated.start, encapsulated.end)
    if not _is(data, next(parts), _DATA):
        return None
    holder = next(parts)
    if holder.tag != _EXPLICIT:
        return None
    return b"".join(_octets(data, holder.start, holder.end, 0))


def _octets(data: bytes, start: int, end: int, depth: int) -> Iterator[bytes]:
    if depth > _MAX_DEPTH:
        raise ValueError("depth")
    for value in _values(data, start, end):
        if value.tag == _OCTETS:
            yield data[value.start : value.end]
        elif value.tag == _OCTETS | _CONSTRUCTED:
            yield from _octets(data, value.start, value.end, depth + 1)


def _is(data: bytes, value: _Value, name: bytes) -> bool:
    return value.tag == _OID and data[value.start : value.end] == name


def _inside(data: bytes, at: int, tag: int) -> tuple[int, int]:
    value = _value(data, at, len(data), 0)
    if value.tag != tag:
        raise ValueError("tag")
    return value.start, value.end


def _values(data: bytes, start: int, end: int) -> Iterator[_Value]:
    at = start
    while at < end:
        value = _value(data, at, end, 0)
        yield value
        at = value.after


def _value(data: bytes, at: int, end: int, depth: int) -> _Value:
    """Return the value at *at*. One of indefinite length ends at its two zero bytes."""
    if at + 2 > end or depth > _MAX_DEPTH:
        raise ValueError("short")
    tag, length, start = data[at], data[at + 1], at + 2
    if length == 0x80:
        inner = start
        while data[inner : inner + 2] != b"\0\0":
            inner = _value(data, inner, end, depth + 1).after
        return _Value(tag, start, inner, inner + 2)
    if length > 0x80:
        size = length - 0x80
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if start + length > end:
        raise ValueError("short")
    return _Value(tag, start, start + length, start + length)
