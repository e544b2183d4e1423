"""The versions of one mail's text: which one is read, and what stands in the others only; pure.

Senders put the richest version last (RFC 2046 section 5.1.4). Some write a letter into one version and a line into the
other, so the versions are compared by their words in order: the one with more text is read, and lines that it lacks are
added below it. Nothing that the sender wrote in one version only is lost.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.text.scanner import scan_blocks

# A line with more than this share of phrases that the other version lacks says something else.
_OWN_SHARE = 0.5
# One more word in the middle of a line ("not") makes three phrases its own, of ten in a line of usual length.
_OWN_PHRASES = 3
_OWN_SHARE_OF_PHRASES = 0.25
# Of two versions with this share of other words, neither is a form of the other.
_OTHER_SHARE = 0.5
# Words of a phrase: three in order are hardly ever there by chance.
_PHRASE_WORDS = 3
# A book; its phrases would take hundreds of megabytes, so only its words count.
_MAX_WORDS = 200_000

_WORD = re.compile(r"[^\W_]+")
# Numbers count even if the line around them is the same; a single digit is also the number of a link.
_NUMBER = re.compile(r"\d{2,}")
# HTML has no number for an item, and no sign for a quotation.
_MARK = re.compile(r"^[\s>]*(?:(?:[-*+•·]|\d{1,3}\\?[.)])\s+)?")
# What programs write for links, pictures and signs when they make plain text of HTML.
_ADDRESS = re.compile(r"(?:https?|mailto|cid|tel):[^\s<>\])]+|\bwww\.[^\s<>\])]+", re.IGNORECASE)
_PICTURE = re.compile(r"\(c\)|!?\[(?:image|cid|bild|inline image)[^\]\n]{0,200}\]|\[\d{1,3}\]", re.IGNORECASE)
_NO_TEXT = re.compile(r"<(?:(script|style|title)\b|!--)", re.IGNORECASE)
_ENDS = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in ("script", "style", "title")}
_COMMENT_END = re.compile("-->")
_TAG = re.compile(r"<[^<>]{0,20000}>")
_ALTERNATIVE_TEXT = re.compile(r"\b(?:alt|title)\s*=\s*(?:\"([^\"]{0,500})\"|'([^']{0,500})')", re.IGNORECASE)
_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")


@dataclass(frozen=True, slots=True)
class Wording:
    """The words of a text, and its phrases of one to three words in order (their hashes)."""

    words: frozenset[str] = frozenset()
    phrases: frozenset[int] = frozenset()

    def __or__(self, other: Wording) -> Wording:
        return Wording(self.words | other.words, self.phrases | other.phrases)

    def __bool__(self) -> bool:
        return bool(self.words)

    def lacks(self, line: str) -> bool:
        """Return whether *line* says something that is not in the text."""
        words = _words(_MARK.sub("", line))
        if not words:
            return False
        if any(word not in self.words and _NUMBER.fullmatch(word) for word in words):
            return True
        if not self.phrases:  # too many were there
            own = sum(word not in self.words for word in words)
            return own > _OWN_SHARE * len(words)
        phrases = list(_phrases(words, min(len(words), _PHRASE_WORDS)))
        own = sum(phrase not in self.phrases for phrase in phrases)
        inserted = own >= _OWN_PHRASES and own > _OWN_SHARE_OF_PHRASES * len(phrases)
        return inserted or own > _OWN_SHARE * len(phrases)

    def lacks_any(self, text: str) -> bool:
        """Return whether a line of *text* says something that is not in this text."""
        return any(self.lacks(line) for line in text.split("\n"))


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version as Markdown, and all that its sender wrote in it."""

    markdown: str
    wording: Wording


def wording_of(text: str) -> Wording:
    """Return the wording of a plain text, without the addresses of links."""
    return _wording(_words(text))


def wording_of_page(page: str) -> Wording:
    """Return the wording of HTML, that of elements that are not shown included."""
    descriptions = " ".join(double or single for double, single in _ALTERNATIVE_TEXT.findall(page))
    text = _shown(page)
    # A tag inside a word does not end it, one between two cells does; both readings count.
    readings = (_TAG.sub("", text), _TAG.sub(" ", text), descriptions)
    wording = Wording()
    for reading in dict.fromkeys(readings):
        wording |= _wording(_words(html.unescape(reading)))
    return wording


def _shown(page: str) -> str:
    """Return HTML without comments and the elements that are no text, in one pass: what is left open stays."""
    parts: list[str] = []
    at, open_names = 0, set[str]()
    for opening in _NO_TEXT.finditer(page):
        name = (opening[1] or "").lower()
        if opening.start() < at or name in open_names:
            continue
        ending = (_ENDS[name] if name else _COMMENT_END).search(page, opening.end())
        if ending is None:
            open_names.add(name)
            continue
        parts.append(page[at : opening.start()])
        at = ending.end()
    return " ".join([*parts, page[at:]])


def has_words(text: str) -> bool:
    """Return whether there is a word besides addresses of links."""
    return bool(_words(text))


def joined(versions: Sequence[Version]) -> tuple[int, str]:
    """Return the index of the version that is read, and the Markdown of what stands in the others only.

    *versions* are those with words, the richest last; there is at least one.
    """
    chosen = len(versions) - 1
    for index in reversed(range(len(versions) - 1)):
        words, others = versions[index].wording.words, versions[chosen].wording.words
        if len(words) > len(others) and len(words - others) > _OTHER_SHARE * len(words):
            chosen = index
    known = versions[chosen].wording
    added: list[str] = []
    for index, version in enumerate(versions):
        if index != chosen:
            added += _own_passages(version.markdown, known)
            known |= version.wording
    return chosen, "\n\n".join(added)


def _own_passages(markdown: str, known: Wording) -> Iterator[str]:
    """Yield the passages of a version that say something else; of running text only the lines that do."""
    for block in scan_blocks(markdown):
        text = markdown[block.start : block.end]
        if block.kind in ("paragraph", "list", "quote"):
            text = "\n".join(line for line in text.split("\n") if known.lacks(line))
        elif not known.lacks_any(text):
            continue
        if text:
            yield text


def _words(text: str) -> list[str]:
    if ":" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    if "[" in text or "(" in text:
        text = _PICTURE.sub(" ", text)
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
    return [word.casefold() for word in _WORD.findall(text)]


def _wording(words: Sequence[str]) -> Wording:
    if len(words) > _MAX_WORDS:
        return Wording(frozenset(words))
    phrases = (phrase for size in range(1, _PHRASE_WORDS + 1) for phrase in _phrases(words, size))
    return Wording(frozenset(words), frozenset(phrases))


def _phrases(words: Sequence[str], size: int) -> Iterable[int]:
    return map(hash, zip(*(words[start:] for start in range(size)), strict=False))
