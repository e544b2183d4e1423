"""What a hyphen at a line's end means: part of the word, a suspended hyphen, a minus, or a syllable break; pure.

Owns the order of the rules. A digit, a capital or a single letter next to the hyphen keeps it ("10-15", "A-class").
Before "and" it is suspended ("pre- and post-war"). Two words that make no third keep it ("self-supporting"). Where all
that does not decide, the document's habit does: one that breaks words at syllables breaks this one, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache

# Words that a suspended hyphen stands before, in the languages of `tasks.conversion.language` that have them.
_CONJUNCTIONS = frozenset(
    """and or nor to but versus vs and/or & und oder bis sowie bzw bzw. beziehungsweise noch et ou ni en of tot dan y o
    u e och eller og oppure ed od a i oraz lub""".split()  # noqa: SIM905
)
# "or" and the like may be a syllable; longer ones are no endings of words.
_MAX_SYLLABLE_LIKE = 3
# First parts that are written with a hyphen, in English and French, and those that English writes with one or without.
_HYPHENATED_FIRST = frozenset(
    """self ex well half quasi cross all vice mid non anti pre post semi pseudo après avant vingt trente quarante
    cinquante soixante peut demi celui celle ceux celles""".split()  # noqa: SIM905
)
# Second parts that French writes with a hyphen: pronouns after their verb, "celui-ci", "peut-être", "au-dessus".
_HYPHENATED_SECOND = frozenset(
    """ci là il elle ils elles on je tu nous vous moi toi lui leur même mêmes être dire dessus dessous delà
    devant""".split()  # noqa: SIM905
)
# Words inside chains of hyphens: "mother-in-law", "state-of-the-art", "sur-le-champ".
_LINKING = frozenset("in of the to and on by at a sur le la de du des à en y t".split())  # noqa: SIM905
# Second parts of nouns made of a verb: "follow-up", "check-in".
_ADVERBS = frozenset({"up", "in", "on", "by"})
_PREFIXES = _HYPHENATED_FIRST | {"co", "re", "multi", "ultra", "extra", "inter", "micro"}
_ADDRESS = re.compile(r"://|^www\.|^[\w.-]+\.[a-z]{2,}/|@|[\w-]/[\w-]+/|[\w-]+\.[a-z]{2,}/", re.IGNORECASE)
_OPENING = "([{<\"'„“‘«»‚‹¿¡*_"
_CLOSING = ")]}>\"'”’“‘»«,.;:!?›*_"
_WORD = re.compile(r"[^\W\d_]{2,60}(?:-[^\W\d_]{1,60})*")
# pdfium marks a hyphen at a line's end by U+FFFE.
_CUT_WORD = re.compile(r"\S{0,80}(?:[-\u00ad\u2010]\r?\n|\ufffe)\S{0,80}")
_SOFT_HYPHEN = "\u00ad"
_HYPHENS = "-\u2010\u2011"


@dataclass(frozen=True, slots=True)
class LineEnd:
    """A hyphen at the end of a line: the word before it, the word that the next line begins with, and the sign."""

    left: str
    right: str
    sign: str = "-"


class LineEnds:
    """Decides about the line ends of one document.

    *words* are those that stand whole inside its lines (`words_of`), *known* those of a language, in small letters.
    """

    def __init__(self, ends: Iterable[LineEnd], words: AbstractSet[str], known: AbstractSet[str]) -> None:
        self._words = words
        self._known = known
        self._breaks_words = sum(map(self._is_break, ends)) > 0

    def joint(self, end: LineEnd) -> str | None:
        """Return what stands between both parts: a hyphen, none, one with blanks. None: leave what is there."""
        if end.sign == _SOFT_HYPHEN:
            return ""
        if end.sign not in _HYPHENS:
            return _of_another_sign(end)
        left, right = end.left.lstrip(_OPENING), end.right.rstrip(_CLOSING)
        if not left:
            return _after_a_blank(end)
        if _ADDRESS.search(f"{end.left}-{end.right}"):
            return "-"
        if self._is_suspended(left, right):
            return "- "
        if _is_kept(left, right):
            return "-"
        chain, _, last = left.rpartition("-")
        if chain and last.casefold() in _LINKING:
            return "-"
        return "" if self._is_one_word(last, right.partition("-")[0]) else "-"

    def _is_suspended(self, left: str, right: str) -> bool:
        if right.casefold() not in _CONJUNCTIONS:
            return False
        whole = (left + right).casefold()
        is_syllable = len(right) <= _MAX_SYLLABLE_LIKE and (whole in self._words or whole in self._known)
        return not is_syllable or left.casefold() in self._words

    def _is_one_word(self, left: str, right: str) -> bool:
        whole, hyphenated = (left + right).casefold(), f"{left}-{right}".casefold()
        if hyphenated in self._words:
            return False
        if whole in self._words:
            return True
        both = self._is_word(left) and (self._is_word(right) or right.casefold() in _ADVERBS)
        if whole in self._known:
            return self._breaks_words or not both
        if both or left.casefold() in _HYPHENATED_FIRST or right.casefold() in _HYPHENATED_SECOND:
            return False
        return self._breaks_words or not (self._is_word(left) or self._is_word(right))

    def _is_break(self, end: LineEnd) -> bool:
        """Return whether this end shows that the document breaks words at syllables."""
        if end.sign == _SOFT_HYPHEN:
            return True
        left, right = end.left.lstrip(_OPENING).rpartition("-")[2], end.right.rstrip(_CLOSING).partition("-")[0]
        if not left.isalpha() or not right.isalpha() or _is_kept(left, right) or right.casefold() in _CONJUNCTIONS:
            return False
        whole = (left + right).casefold()
        both = self._is_word(left) and self._is_word(right)
        return (whole in self._words or whole in self._known) and not both

    def _is_word(self, part: str) -> bool:
        small = part.casefold()
        return small in self._known or small in self._words or small in _PREFIXES


def words_of(text: str) -> frozenset[str]:
    """Return the words of *text* that stand whole inside its lines, in small letters; hyphenated ones whole."""
    return frozenset(match.casefold() for match in _WORD.findall(_CUT_WORD.sub(" ", text)))


@cache
def english_words() -> frozenset[str]:
    """Return 21,000 frequent English words (30 ms): the vocabulary of the embedding model, which is here anyway."""
    from blocks.embedding.model import package_folder
    from blocks.errors import EmbeddingModelUnavailable

    try:
        lines = (package_folder() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except (EmbeddingModelUnavailable, OSError):
        return frozenset()
    return frozenset(word for word in lines if len(word) > 2 and word.isalpha())


def _of_another_sign(end: LineEnd) -> str | None:
    """A range of numbers and what a slash joins have no blank, nor has an address after one of its signs."""
    if end.sign == "−":
        return " −" if not end.left and end.right[:1].isdigit() else None
    if end.sign == "–":
        return "–" if end.left[-1:].isdigit() and end.right[:1].isdigit() else None
    if end.sign == "/":
        return "/" if end.left else None
    if not _ADDRESS.search(end.left):
        return None
    if end.sign == ".":
        return "." if re.match(r"[\w-]*[/=?_]|(?:html?|pdf|php|aspx?|[a-z]{2,3})\b", end.right) else None
    return end.sign


def _after_a_blank(end: LineEnd) -> str:
    """A sign with a blank before it is a minus before a digit, and else a dash. A bracket may stand before a minus."""
    starts_number = re.match(r"[.,$€£(]?\d", end.right) is not None
    if end.left:
        return "-"
    return " -" if starts_number else " - "


def _is_kept(left: str, right: str) -> bool:
    before, after = left[-1], right[:1]
    if not (before.isalpha() and after.isalpha()):
        return True
    if before.isupper() or after.isupper():
        return not (left.isupper() and right.isupper() and len(left) > 1 and len(right) > 1)
    return len(left.rpartition("-")[2]) == 1
