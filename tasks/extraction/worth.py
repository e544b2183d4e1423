"""How much a sentence says to a reader who has not read the document: the score that orders statements.

A sentence says more if it has figures, dates or people in it, defines something, has the document's key phrases and
names, and stands near its beginning. It says less if it leans on the sentence before it, points elsewhere, is a line
of a list of changes, a heading or half code, speaks of itself, or is very short or long. Owns the weight of each.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from tasks.extraction.definitions import defined_subject
from tasks.extraction.independence import DEFINITE, independence, vague_subject
from tasks.extraction.names import NOUN_CAPITAL_LANGUAGES

# What a kind of mention adds: amounts and dates can be checked, names alone say little. Each kind counts once. The user
# looks for the names of the gazetteer.
_WEIGHTS = {
    "money": 1.2,
    "percent": 1.0,
    "quantity": 0.8,
    "date": 1.1,
    "person": 0.8,
    "organisation": 0.6,
    "name": 0.3,
    "acronym": 0.1,
    "email": 0.1,
    "citation": 0.1,
    "url": 0.0,
}
_GAZETTEER_WEIGHT = 1.0
_DEFINITION_WEIGHT = 1.8
_PHRASE_WEIGHT = 0.7
_SALIENT_WEIGHT = 0.5
_PLACE_WEIGHT = 0.5
_LEAST = 0.3
# A row of a table says less than prose: rows rank after all but the weakest sentences.
_ROW_WEIGHT = 0.15
_ROW_SHARE = 0.2
# So many key phrases are what a document is about.
TOPICS = 4
# A longer document has enough sentences with names, and splitting the others takes time.
MAX_TOPIC_CHARACTERS = 24_000
# Most names that a document speaks of are in few of its sentences.
SALIENT_NAMES = 4

_SHORT, _LONG = (45, 70), (260, 360)
_END = re.compile(r"[.!…。！？][)\"'”’»*\]]{0,3}$")
# A word of code; paths are half words.
_CODE = re.compile(r"[_\\{}<>=|$`^~]|::|\(\)|(?<!\S)-{1,2}\w|(?<!\S)%")
_CODE_SHARE, _LEAST_PROSE = 2.5, 0.3
# Lines drawn with signs, signs of symbol fonts, what a link leaves, a term and its text in one line.
_ODD = re.compile(r"[-–—=*_.]{4,}|[\uf000-\uf0ff\ufffd]|\]\(| : ")
# A heading or a running head that the text goes on from: "Installation The program is".
_RUN_IN = re.compile(
    r" (?<=[^\W\d_] )(?:The|If|An?|This|These|In|For|When|It|Do|To|All|Each|Der|Die|Das|Eine?|Wenn|Les?|La|Une?|Si|Il"
    r"|El|Los|Het)"
    r" [^\W\d_A-ZÀ-Þ]{2}"
)
# With so many words, of which so many are large, a sentence is a title or an entry of a bibliography.
_TITLE_WORDS, _TITLE_SHARE = 6, 0.5
_TORN, _QUOTED, _UNENDED = 0.6, 0.8, 0.4
_RANKED_CHARACTERS = 400  # what decides about code stands in so many


@dataclass(frozen=True, slots=True)
class Subject:
    """What a document is about: its key phrases with their score, and the names that it has most, in small letters."""

    phrases: Mapping[str, float] = field(default_factory=dict[str, float])
    names: Set[str] = frozenset()
    characters: int = 1
    language: str = "en"

    def is_topic_of(self, text: str) -> bool:
        """Return whether *text* has one of the document's first key phrases."""
        if self.characters > MAX_TOPIC_CHARACTERS:
            return False
        lowered = text.lower()
        return any(phrase in lowered for phrase in itertools.islice(self.phrases, TOPICS))


def sum_of_kinds(kinds: Set[str]) -> float:
    """Return what the kinds of mention are worth."""
    # In order: a sum of floats in a set's order differs in its last digit from process to process.
    return sum(_WEIGHTS.get(kind, _GAZETTEER_WEIGHT) for kind in sorted(kinds))


def worth_of_row(kinds: Set[str]) -> float:
    """Return the worth of a row of a table."""
    return _ROW_WEIGHT + _ROW_SHARE * sum_of_kinds(kinds)


def worth(statement: str, kinds: Set[str], place: int, subject: Subject, stands: float) -> float:
    """Return the worth of a sentence at *place* (characters of the document); only its order means something.

    *stands* is its `standing`.
    """
    lowered = statement.lower()
    score = sum_of_kinds(kinds)
    if defined := defined_subject(statement, subject.language).lower():
        score += _DEFINITION_WEIGHT
    score += _PHRASE_WEIGHT * min(1.0, sum(value for phrase, value in subject.phrases.items() if phrase in lowered))
    named = [name for name in subject.names if name in lowered]
    score += _SALIENT_WEIGHT * (1 if named else 0) + _SALIENT_WEIGHT * any(name in defined for name in named)
    score += _PLACE_WEIGHT * (1 - min(1.0, place / max(1, subject.characters))) ** 2
    return (_LEAST + score) * stands * _readability(statement, named, subject.language)


def standing(statement: str, subject: Subject) -> float:
    """Return how well a sentence stands alone in a document on *subject*, 0 to 1."""
    vague = vague_subject(statement, subject.language)
    is_vague = vague and not any(word in name for word in vague.split()[1:] for name in subject.names)
    return independence(statement, subject.language) * (DEFINITE if is_vague else 1.0)


def _readability(statement: str, named: list[str], language: str) -> float:
    """Return how much a sentence is prose and of a good length, 0 to 1."""
    share = 1.0
    size = len(statement)
    if size < _SHORT[1]:
        share *= 0.85 if size >= _SHORT[0] else 0.6
    elif size > _LONG[0]:
        share *= 0.8 if size <= _LONG[1] else 0.6
    if not _END.search(statement):
        share *= _UNENDED
    words = statement[:_RANKED_CHARACTERS].split()
    if _CODE.search(statement):
        coded = sum(_CODE.search(word) is not None for word in words)
        share *= max(_LEAST_PROSE, 1 - _CODE_SHARE * coded / len(words))
    first = words[0]
    if first[:1].islower() and not any(map(str.isdigit, first)) and not any(map(first.lower().startswith, named)):
        share *= _TORN
    if first.startswith(("(", ":")) or statement.count("(") != statement.count(")") or _ODD.search(statement):
        share *= _TORN
    if _RUN_IN.search(statement):
        share *= _TORN
    if language not in NOUN_CAPITAL_LANGUAGES and len(words) >= _TITLE_WORDS:
        large = sum(word[:1].isupper() for word in words)
        share *= _TORN if large > _TITLE_SHARE * len(words) else 1
    if statement.count('"') % 2 or statement.count("«") != statement.count("»"):
        share *= _QUOTED
    return share
