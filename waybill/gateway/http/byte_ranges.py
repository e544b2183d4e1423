"""Which bytes of a file a request asks for; pure.

Owns the `Range` header for the unit ``bytes`` (RFC 9110 section 14). One range is served. Several in one request are
answered with the whole file, which section 14.2 allows: a multipart answer helps no downloader, and many overlapping
ranges are a known way to make a server work. What is malformed, or in another unit, is ignored likewise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
# ASCII digits: \d would take those of every script.
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
# More digits than any size has. Python refuses to read thousands of them, and a request may hold that many.
_MAX_DIGITS = 19
_BEYOND = 10**_MAX_DIGITS


@dataclass(frozen=True, kw_only=True)
class ByteRange:
    """The bytes from *start* up to, and without, *stop*; at least one."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """The `Content-Range` of an answer with this part of *size* bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class RangeNotSatisfiable(Exception):
    """The range lies behind the end of the file; becomes status 416."""


def requested_range(headers: Sequence[str], size: int) -> ByteRange | None:
    """The part of *size* bytes that the request's `Range` headers ask for; None for the whole file.

    Raises `RangeNotSatisfiable` for a well-formed range with no byte in it.
    """
    spec = _single_spec(headers)
    if spec is None:
        return None
    first, last = spec
    if first == "":
        return _suffix(_number(last), size)
    start = _number(first)
    stop = _number(last) + 1 if last else size
    if last and stop <= start:
        return None  # the end before the beginning: malformed, section 14.1.1
    if start >= size:
        raise RangeNotSatisfiable
    return ByteRange(start=start, stop=min(stop, size))


def _single_spec(headers: Sequence[str]) -> tuple[str, str] | None:
    """The two sides of the one range that is asked for; None for none, several, or something else."""
    found = _RANGE.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        return None
    # A recipient must bear empty members of a list: section 5.6.1.2.
    members = [member for part in found[1].split(",") if (member := part.strip(" \t"))]
    spec = _SPEC.fullmatch(members[0]) if len(members) == 1 else None
    return (spec[1], spec[2]) if spec and (spec[1] or spec[2]) else None


def _suffix(length: int, size: int) -> ByteRange | None:
    """The last *length* bytes, or all where there are fewer: section 14.1.2."""
    if length == 0:
        raise RangeNotSatisfiable
    if size == 0:
        return None  # satisfiable, but no Content-Range can say "nothing"
    return ByteRange(start=max(size - length, 0), stop=size)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else _BEYOND
