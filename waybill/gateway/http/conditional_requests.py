"""Conditional and range requests: what the client has already, and which bytes it asks for (RFC 9110).

Owns the entity tag of a file's content, `If-Match`, `If-None-Match` and `If-Range` (sections 8.8.3 and 13.1), and
`Range` in the unit ``bytes`` (section 14). The tag is strong: it is the sha256 of the content. Files have no
`Last-Modified`, because their content never changes; conditions by date are ignored or fail, as the RFC says.

Several ranges in one request are answered with the whole file, which section 14.2 allows: many overlapping ranges are a
known attack on servers. A malformed range, or one in another unit, is ignored likewise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*')
_RANGE = re.compile(r"bytes=(.*)", re.IGNORECASE | re.DOTALL)
# ASCII digits only: \d would accept those of every script.
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
# More digits than any size has. Python refuses to convert thousands of digits, and a header may hold that many.
_MAX_DIGITS = 19
_BEYOND = 10**_MAX_DIGITS


def entity_tag(sha256: str) -> str:
    """Return the strong entity tag of the content with this hash."""
    return f'"{sha256}"'


def matches_any(headers: Sequence[str], tag: str, *, weak: bool) -> bool:
    """Return whether the lists in *headers* contain *tag* or ``*``; with *weak*, also a weak form of *tag*.

    A malformed member matches nothing.
    """
    for header in headers:
        if header.strip() == "*":
            return True
        for member in header.split(","):
            found = _TAG.fullmatch(member)
            if found is not None and found[2] == tag and (weak or not found[1]):
                return True
    return False


def allows_range(if_range: Sequence[str], tag: str) -> bool:
    """Return whether a range may be served: `If-Range` is absent, or names exactly this content.

    A weak tag or a date proves nothing about bytes, and more than one value is malformed.
    """
    return not if_range or [value.strip() for value in if_range] == [tag]


@dataclass(frozen=True, kw_only=True)
class ByteRange:
    """The bytes from *start* up to, but not including, *stop*; at least one."""

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """Return the `Content-Range` of a response with this part of *size* bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class RangeNotSatisfiable(Exception):
    """The range is beyond the end of the file; becomes status 416."""


def requested_range(headers: Sequence[str], size: int) -> ByteRange | None:
    """Return the part of *size* bytes that the `Range` *headers* ask for; None for the whole file.

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
        return None  # the end is before the start: malformed, section 14.1.1
    if start >= size:
        raise RangeNotSatisfiable
    return ByteRange(start=start, stop=min(stop, size))


def _single_spec(headers: Sequence[str]) -> tuple[str, str] | None:
    """Return both sides of the only range; None when there is none, several, or something else."""
    found = _RANGE.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        return None
    # A recipient must ignore empty members of a list: section 5.6.1.2.
    members = [member for part in found[1].split(",") if (member := part.strip(" \t"))]
    spec = _SPEC.fullmatch(members[0]) if len(members) == 1 else None
    return (spec[1], spec[2]) if spec and (spec[1] or spec[2]) else None


def _suffix(length: int, size: int) -> ByteRange | None:
    """Return the last *length* bytes, or all where there are fewer: section 14.1.2."""
    if length == 0:
        raise RangeNotSatisfiable
    if size == 0:
        return None  # satisfiable, but no Content-Range can express an empty range
    return ByteRange(start=max(size - length, 0), stop=size)


def _number(digits: str) -> int:
    significant = digits.lstrip("0")
    return int(significant or "0") if len(significant) <= _MAX_DIGITS else _BEYOND
