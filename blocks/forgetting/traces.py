"""Recognise text of a document in a line that does not name it, without keeping the text; pure.

A line has text of the document when it has five consecutive words of it, or one of its *signs*: words that hardly occur
by chance, such as an address, the number of an account or a reference. Only hashes of both are kept, until all is done.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Self

_WORDS_IN_A_ROW = 5
_MIN_SIGN_CHARS = 6
# Eight bytes each: two megabytes. The words behind that are of a document of a thousand pages.
_MOST = 250_000

_WORD = re.compile(r"\w+(?:[-@.+]\w+)*")
_SIGN = re.compile(r"(?=(?:.*\d){4})(?=.*[^\W\d_])|.*@")
# Ids, hashes and times are Waybill's and Prefect's own words, and stand in many lines.
_COMMON = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|([0-9a-f]{8}){1,8}|[0-9a-f]{12}|\d{4}-\d\d-\d\dt\d.*")


@dataclass(frozen=True)
class Traces:
    """The hashes of what a document's text is recognised by."""

    hashes: frozenset[int] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Return the traces of *texts*, of the first ones when there are many."""
        found: set[int] = set()
        for text in texts:
            for one in _traces(text):
                found.add(one)
                if len(found) >= _MOST:
                    return cls(frozenset(found))
        return cls(frozenset(found))

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """Return what `as_bytes` has written."""
        return cls(frozenset(array("Q", stored)))

    def as_bytes(self) -> bytes:
        return array("Q", self.hashes).tobytes()

    def are_in(self, text: str) -> bool:
        """Return whether *text* has text of the document."""
        return any(one in self.hashes for one in _traces(text)) if self.hashes else False


def _traces(text: str) -> Iterator[int]:
    words = _WORD.findall(text.casefold())
    for word in words:
        if len(word) >= _MIN_SIGN_CHARS and _SIGN.match(word) and not _COMMON.fullmatch(word):
            yield _hash(word)
    for start in range(len(words) - _WORDS_IN_A_ROW + 1):
        yield _hash(" ".join(words[start : start + _WORDS_IN_A_ROW]))


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
