"""The versions of one mail's text: which one is read, and what stands in the others only; pure.

Senders put the richest version last (RFC 2046 section 5.1.4). Some write a letter into one version and a line into the
other, so the versions are compared word by word: the one with more text is read, and lines whose words it lacks are
added below it. Nothing that the sender wrote in one version only is lost.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.text.scanner import scan_blocks

# A line with more than this share of words that the other version lacks says something else.
_OWN_SHARE = 0.5
# Of two versions with this share of other words, neither is a form of the other.
_OTHER_SHARE = 0.5

_WORD = re.compile(r"[^\W_]+")
# Numbers count even if the line around them is the same; a single digit is also the number of a link.
_NUMBER = re.compile(r"\d{2,}")
# What programs write for links and pictures when they make plain text of HTML.
_ADDRESS = re.compile(r"(?:https?|mailto|cid|tel):[^\s<>\])]+|\bwww\.[^\s<>\])]+", re.IGNORECASE)
_PICTURE = re.compile(r"!?\[(?:image|cid|bild|inline image)[^\]\n]{0,200}\]|\[\d{1,3}\]", re.IGNORECASE)
_NO_TEXT = re.compile(r"<(script|style|title)\b.{0,200000}?</\1\s*>|<!--.{0,100000}?-->", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^<>]{0,20000}>")
_ALTERNATIVE_TEXT = re.compile(r"\b(?:alt|title)\s*=\s*(?:\"([^\"]{0,500})\"|'([^']{0,500})')", re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version as Markdown, and all words that its sender wrote in it."""

    markdown: str
    words: frozenset[str]


def words_of(text: str) -> frozenset[str]:
    """Return the words of a plain text, in small letters, without those of addresses of links."""
    if ":" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    if "[" in text:
        text = _PICTURE.sub(" ", text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    return frozenset(word.casefold() for word in _WORD.findall(text))


def words_of_page(page: str) -> frozenset[str]:
    """Return the words of HTML, those of elements that are not shown included."""
    descriptions = " ".join(double or single for double, single in _ALTERNATIVE_TEXT.findall(page))
    text = _NO_TEXT.sub(" ", page)
    # A tag inside a word does not end it, one between two cells does; both readings count.
    return words_of(html.unescape(f"{_TAG.sub('', text)} {_TAG.sub(' ', text)} {descriptions}"))


def joined(versions: Sequence[Version]) -> tuple[int, str]:
    """Return the index of the version that is read, and the Markdown of what stands in the others only.

    *versions* are those with words, in the order of the message; there is at least one.
    """
    chosen = len(versions) - 1
    for index in reversed(range(len(versions) - 1)):
        own = versions[index].words - versions[chosen].words
        longer = len(versions[index].words) > len(versions[chosen].words)
        if longer and len(own) > _OTHER_SHARE * len(versions[index].words):
            chosen = index
    known = versions[chosen].words
    added: list[str] = []
    for index, version in enumerate(versions):
        if index != chosen and not version.words <= known:
            added += _own_passages(version.markdown, known)
            known |= version.words
    return chosen, "\n\n".join(added)


def _own_passages(markdown: str, known: frozenset[str]) -> Iterator[str]:
    """Yield the passages of a version that say something else; of running text only the lines that do."""
    for block in scan_blocks(markdown):
        text = markdown[block.start : block.end]
        if block.kind in ("paragraph", "list", "quote"):
            text = "\n".join(line for line in text.split("\n") if _is_own(line, known))
        elif not any(_is_own(line, known) for line in text.split("\n")):
            continue
        if text:
            yield text


def _is_own(line: str, known: frozenset[str]) -> bool:
    words = words_of(line)
    own = words - known
    return len(own) > _OWN_SHARE * len(words) or any(_NUMBER.fullmatch(word) for word in own)
