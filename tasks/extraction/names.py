"""Names of people, organisations and other things, and acronyms, by the way they are written.

Owns rules for scripts with capital letters. They have no knowledge of the world: "Paris Hilton" and "Paris Agreement"
look alike, so a name without a title or an ending is just a `name`. Where every noun has a capital (German), a single
word is not a name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.extraction import measures, vocabulary
from tasks.extraction.evidence import Mention

# A longer sequence of capitalised words is a headline.
MAX_WORDS = 7
# "Bank of England" has one word between, "University of the Arts" two.
MAX_PARTICLES = 2
MIN_WORD_CHARACTERS = 3
NOUN_CAPITAL_LANGUAGES = ("de", "lb")

_WORD = re.compile(r"(?<!\w)[^\W\d_]\w*(?:['’-]\w+)*")
_POSSESSIVE = re.compile(r"['’]s?$")
_CODE = re.compile(r"`[^`\n]{1,200}`")
_BETWEEN = re.compile(r"(?:\. ?| |\u00a0|\r?\n)")  # after an initial; between words
_ENDING = re.compile(rf"(?:{vocabulary.ORGANISATION_ENDS})", re.I)
_BEGINNING = re.compile(rf"(?:{vocabulary.ORGANISATION_BEGINS})")
_TITLE = re.compile(rf"(?:{vocabulary.PERSON_TITLES})")
_PARTICLE = re.compile(rf"(?:{vocabulary.NAME_PARTICLES})")
_ACRONYM = re.compile(r"(?<![\w&/-])[A-Z](?:[A-Z0-9]|&(?=[A-Z])){1,7}(?:s(?!\w))?(?![\w&-])")
_ROMAN = re.compile(r"[IVXLCDM]+")
_UNITS = frozenset(measures.UNIT_SYMBOLS.split())
# The share of capital letters above which a whole line is in capitals, and no word in it is an acronym.
SHOUTED = 0.7
LINE_CHARACTERS = 40  # of the line on either side, enough to decide
_BEFORE_SENTENCE = ".!?:;|•"
_MARKS = " \t\r\n*_\"'“”‘’«»([>"


@dataclass(frozen=True, slots=True)
class _Word:
    start: int
    end: int
    text: str

    @property
    def is_capitalised(self) -> bool:
        return self.text[0].isupper() and "_" not in self.text and (len(self.text) == 1 or self.text not in _UNITS)


def names(text: str, language: str) -> Iterator[Mention]:
    """Yield people and organisations, then other names. A single word has the type ``word``, until it is confirmed."""
    masked = _CODE.sub(lambda code: " " * len(code[0]), text)
    others: list[Mention] = []
    for sequence in _sequences(masked):
        for mention in _classified(masked, sequence, language[:2]):
            if mention.type in ("person", "organisation"):
                yield mention
            else:
                others.append(mention)
    yield from others


def acronyms(text: str) -> Iterator[Mention]:
    """Yield words of capitals; if "(ABC)" follows the words it abbreviates, they are its `value`."""
    for found in _ACRONYM.finditer(text):
        letters = found[0].rstrip("s")
        is_word = sum(char.isalpha() for char in letters) >= 2 and not _ROMAN.fullmatch(letters)
        if is_word and letters not in _UNITS and not _is_shouted(text, found):
            yield Mention(found.start(), found.end(), "acronym", _expansion(text, found.start(), letters))


def _sequences(text: str) -> Iterator[list[_Word]]:
    """Yield runs of capitalised words, with particles between them."""
    run: list[_Word] = []
    particles: list[_Word] = []
    for found in _WORD.finditer(text):
        word = _Word(found.start(), found.end(), found[0])
        last = particles[-1] if particles else run[-1] if run else None
        adjoins = last is not None and _adjoin(text, last, word)
        if adjoins and word.is_capitalised:
            run += [*particles, word]
            particles = []
        elif adjoins and len(particles) < MAX_PARTICLES and _PARTICLE.fullmatch(word.text):
            particles.append(word)
        else:
            if run:
                yield run
            run, particles = ([word] if word.is_capitalised else []), []
    if run:
        yield run


def _adjoin(text: str, last: _Word, word: _Word) -> bool:
    between = text[last.end : word.start]
    if between.startswith("."):  # of an initial or a title, not the end of a sentence
        return bool(_BETWEEN.fullmatch(between)) and (len(last.text) == 1 or bool(_TITLE.fullmatch(last.text)))
    if between == ", ":  # "Acme, Inc."
        return bool(_ENDING.fullmatch(word.text))
    return between == " & " or bool(_BETWEEN.fullmatch(between))


def _classified(text: str, sequence: Sequence[_Word], language: str) -> Iterator[Mention]:
    words = _without_common_words(sequence)
    titles = 0
    while titles < len(words) and _is_title(text, words[titles]):
        titles += 1
    capitalised = sum(word.is_capitalised for word in words)
    if capitalised > MAX_WORDS or titles == len(words):
        return
    ends_organisation = capitalised > 1 and bool(_ENDING.fullmatch(words[-1].text))
    if titles:
        place = _place_of_particle(words, titles) if ends_organisation else len(words)
        yield _mention(words[titles:place], "person")
        yield from _classified(text, words[place:], language)
    elif ends_organisation or (capitalised > 1 and _is_institution(words)):
        yield _mention(words, "organisation")
    elif _are_capitals(words):
        return  # acronyms, or a line in capitals
    elif capitalised > 1:
        yield _mention(words, "name")
    elif _stands_out(text, words[0], sequence[0], language):
        yield _mention(words, "word")


def _is_title(text: str, word: _Word) -> bool:
    """Return whether *word* is a title; a single letter ("M." for Monsieur) only with its full stop."""
    return bool(_TITLE.fullmatch(word.text)) and (len(word.text) > 1 or text[word.end : word.end + 1] == ".")


def _are_capitals(words: Sequence[_Word]) -> bool:
    """Return whether the words are all in capitals, or mostly."""
    capitals = sum(len(word.text) > 1 and word.text.isupper() for word in words)
    return capitals > 1 or capitals == len(words)


def _stands_out(text: str, word: _Word, first: _Word, language: str) -> bool:
    """Return whether a single word has its capital because it is a name."""
    if language in NOUN_CAPITAL_LANGUAGES or len(word.text) < MIN_WORD_CHARACTERS:
        return False
    return word is not first or not _begins_sentence(text, word.start)


def _without_common_words(sequence: Sequence[_Word]) -> list[_Word]:
    """Return the sequence without words at either end whose capital has another reason than a name."""
    words = list(sequence)
    while words and (words[0].text.lower() in vocabulary.NOT_NAMES or not words[0].is_capitalised):
        words.pop(0)
    while words and words[-1].text.lower() in vocabulary.NOT_NAMES:
        words.pop()
    return words


def _place_of_particle(words: Sequence[_Word], titles: int) -> int:
    """Return where "Müller von der Siemens AG" is divided into a person and an organisation."""
    places = (place for place, word in enumerate(words) if place > titles and not word.is_capitalised)
    return next(places, len(words))


def _mention(words: Sequence[_Word], kind: str) -> Mention:
    last = words[-1]
    return Mention(words[0].start, last.end - len(last.text) + len(_POSSESSIVE.sub("", last.text)), kind)


def _is_institution(words: Sequence[_Word]) -> bool:
    return bool(_BEGINNING.fullmatch(words[0].text)) and not words[1].is_capitalised


def _begins_sentence(text: str, place: int) -> bool:
    before = text[max(0, place - 10) : place].rstrip(_MARKS)
    return not before or before[-1] in _BEFORE_SENTENCE or "\n\n" in text[max(0, place - 10) : place]


def _is_shouted(text: str, found: re.Match[str]) -> bool:
    """Return whether the rest of the line is in capitals as well, as in a heading: then nothing is an acronym."""
    before = text[max(0, found.start() - LINE_CHARACTERS) : found.start()].rpartition("\n")[2]
    after = text[found.end() : found.end() + LINE_CHARACTERS].partition("\n")[0]
    letters = [char for char in before + after if char.isalpha()]
    return bool(letters) and sum(char.isupper() for char in letters) > SHOUTED * len(letters)


def _expansion(text: str, start: int, letters: str) -> str:
    """Return the words before "(ABC)" that have its initials (after Schwartz and Hearst 2003); empty without them."""
    if text[start - 1 : start] != "(":
        return ""
    words = list(_WORD.finditer(text, max(0, start - 120), start - 1))
    initials = [letter for letter in letters.lower() if letter.isalpha()]
    for count in range(len(initials), min(len(words), len(initials) + MAX_PARTICLES) + 1):
        candidate = words[len(words) - count :]
        firsts = [
            word[0][0].lower() for word in candidate if not _PARTICLE.fullmatch(word[0]) or count == len(initials)
        ]
        if firsts == initials:
            return " ".join(text[candidate[0].start() : candidate[-1].end()].split())
    return ""
