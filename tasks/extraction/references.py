"""References (e-mail addresses, URLs, citations), without the full stop of the sentence that ends with one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.extraction.evidence import Mention

# RFC 5321, 4.5.3.1: 64 octets before the sign; the rest bounded as DNS names are.
_EMAIL = re.compile(
    r"(?<![\w.%+-])[A-Za-z0-9_%+-](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])"
)
_URL = re.compile(r"(?<![\w/])(?:https?://|www\.)[^\s<>\"'`|\\^{}\[\]«»“”]{3,2000}", re.I)
_AFTER_URL = ".,;:!?*_…。，）"

_DOI = re.compile(r"(?<![\w./])10\.\d{4,9}/[^\s<>\"'`\]]{1,200}")
# Up to six numbers below 1000: a longer one is a list of numbers.
_NUMBERED = re.compile(r"(?<![\w\]\\!])\[(?:[1-9]\d{0,2}(?:\s?[,;–-]\s?[1-9]\d{0,2}){0,5})\](?![(\[:])")
_AUTHOR = r"[A-ZÀ-Þ][\w'’-]{1,40}"
_AUTHOR_YEAR = re.compile(
    rf"\({_AUTHOR}(?:(?:,|,? (?:and|und|et|y|&)) {_AUTHOR}){{0,3}}(?:,? et al\.?)?,? (?:1[5-9]|20)\d\d[a-z]?"
    r"(?:, (?:pp?|S)\. ?\d{1,5}(?:[–-]\d{1,5})?)?\)"
)
_STANDARD = re.compile(
    r"(?<![\w-])(?:RFC[ -]?\d{1,5}|ISO(?:/IEC)?[ -]\d{2,5}(?:-\d{1,2})?(?::\d{4})?|arXiv:\d{4}\.\d{4,5}"
    r"|ISBN[ :]?[\d-]{10,17}|CVE-\d{4}-\d{4,7})(?!\w)"
)


def references(text: str) -> Iterator[Mention]:
    """Yield e-mail addresses, then URLs, then citations."""
    for found in _EMAIL.finditer(text):
        yield Mention(found.start(), found.end(), "email", found[0].lower())
    for found in _URL.finditer(text):
        yield Mention(found.start(), found.start() + len(_closed(found[0])), "url")
    for found in _DOI.finditer(text):
        yield Mention(found.start(), found.start() + len(_closed(found[0])), "citation")
    for pattern in (_STANDARD, _AUTHOR_YEAR, _NUMBERED):
        for found in pattern.finditer(text):
            yield Mention(found.start(), found.end(), "citation")


def _closed(address: str) -> str:
    """Return *address* without the punctuation of the sentence, and without a bracket that it does not open."""
    while True:
        shorter = address.rstrip(_AFTER_URL)
        if shorter.endswith(")") and shorter.count("(") < shorter.count(")"):
            shorter = shorter[:-1]
        if shorter == address:
            return address
        address = shorter
