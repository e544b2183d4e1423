"""Names of people, organisations and other things, and acronyms, by the way they are written.

Owns rules for scripts with capital letters. They know common words and given names (`lexicon`) and how the document
writes its words, and nothing else of the world: a name without a title, a given name, an address or an ending is just a
`name`. A capital at the beginning of a sentence, of an item or of a cell says nothing. Where every noun has a capital
(German), a single word is not a name, and nouns before a name do not belong to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.extraction import measures, vocabulary
from tasks.extraction.evidence import Mention
from tasks.extraction.lexicon import NO_WORDS, DocumentWords, is_common, is_given_name

# A longer sequence of capitalised words is a headline.
MAX_WORDS = 7
# "Bank of England" has one word between, "University of the Arts" two.
MAX_PARTICLES = 2
MIN_WORD_CHARACTERS = 3
NOUN_CAPITAL_LANGUAGES = ("de", "lb")

# "OpenSSH-1.2" is a name and a version, "-C" an option.
_WORD = re.compile(r"(?<!\w)(?<!\s-)(?<!--)(?<!\d-)[^\W\d_]\w*(?:['’-](?!\d+\.\d)\w+)*")
_POSSESSIVE = re.compile(r"['’]s?$")
# Code, and where a link leads.
_CODE = re.compile(r"`[^`\n]{1,200}`|(?<=\])\([^()\s]{1,500}\)")
_BETWEEN = re.compile(r"(?:\. ?| |\u00a0|\r?\n)")  # after an initial; between words
_ENDING = re.compile(rf"(?:{vocabulary.ORGANISATION_ENDS})", re.I)
_BEGINNING = re.compile(rf"(?:{vocabulary.ORGANISATION_BEGINS})")
_TITLE = re.compile(rf"(?:{vocabulary.PERSON_TITLES})")
_ENGLISH_PARTICLE = re.compile(r"of|the|&")
_STREET = re.compile(
    r"St|Street|Ave|Avenue|Rd|Road|Blvd|Boulevard|Drive|Square|Str|Straße|Platz|Park|Hall|River|Bay|Island"
)
_PARTICLE = re.compile(rf"(?:{vocabulary.NAME_PARTICLES})")
_ACRONYM = re.compile(r"(?<![\w&/-])[A-Z](?:[A-Z0-9]|&(?=[A-Z])){1,7}(?:s(?!\w))?(?![\w&-]|\.[a-z])")
_ROMAN = re.compile(r"[IVXLCDM]+")
_UNITS = frozenset(measures.UNIT_SYMBOLS.split())
# The share of capital letters above which a whole line is in capitals, and no word in it is an acronym.
SHOUTED = 0.7
LINE_CHARACTERS = 40  # of the line on either side, enough to decide
LEFT_CHARACTERS = 12  # what is looked at before a word, for the beginning of a sentence or an item
_BEFORE_SENTENCE = ".!?:;|•–—·…"
_MARKS = " \t\r\n*_\"'“”‘’«»„([>\\"
_ITEM = re.compile(r"(?:^|\n)[ \t>]*(?:\\?[-+*•]|\(?(?:\d{1,4}|[a-z])[.)])[ \t]+[*_\"'“„«(\[]*$")
# After a name: whose address it is.
_ADDRESS = re.compile(
    r"[ \u00a0]?(?:\]\(mailto:|\\?[<(\[](?:mailto:)?[\w.+-]{1,64}(?:@| at )\w|,? &lt;[\w.+-]{1,64}@)", re.I
)
MAX_PERSON_WORDS = 5
# Nouns before a name ("die Arbeitsplatzumgebung GNOME"), by their endings, in languages where nouns have capitals.
_NOUN = re.compile(
    r"\w{3,}(?:ung|ungen|heit|heiten|keit|keiten|schaft|tion|tionen|ment|mente|ismus|ität|system|projekt|umgebung"
    r"|team|server)"
)
# Endings of words that are written in capitals for emphasis and abbreviate nothing.
_EMPHASISED = re.compile(r"[A-Z]{3,}(?:ING|ED|TION|MENT|NESS|ABLE|IBLE|ABILITY|LY|OUS|IVE|UNG|LICH|KEIT|ISCH)")
MAX_SPELT_CHARACTERS = 4  # an acronym of so many letters may also be written small, as the name of a command


@dataclass(frozen=True, slots=True)
class _Word:
    start: int
    end: int
    text: str

    @property
    def is_capitalised(self) -> bool:
        return self.text[0].isupper() and "_" not in self.text and (len(self.text) == 1 or self.text not in _UNITS)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The language of a text, and how its document writes words."""

    language: str
    known: DocumentWords

    @property
    def nouns_have_capitals(self) -> bool:
        return self.language in NOUN_CAPITAL_LANGUAGES

    def is_ordinary(self, word: str) -> bool:
        """Return whether a word with a capital is one of everyday text, here or in general."""
        return self.known.is_ordinary(word)

    def may_be_surname(self, word: _Word) -> bool:
        """Return whether *word* may stand behind a given name: no everyday word, no acronym."""
        if not word.is_capitalised:
            return True
        spelt = word.text
        if spelt.isupper() and len(spelt) > 1:
            return False
        return not any(map(str.isdigit, spelt)) and not self.is_ordinary(spelt)


def names(text: str, language: str, known: DocumentWords = NO_WORDS) -> Iterator[Mention]:
    """Yield people and organisations, then other names. A single word has the type ``word``, until it is confirmed."""
    masked = _masked(text)
    others: list[Mention] = []
    for sequence in _sequences(masked):
        for mention in _classified(masked, sequence, _Reading(language[:2], known)):
            if mention.type in ("person", "organisation"):
                yield mention
            else:
                others.append(mention)
    yield from others


def acronyms(text: str, known: DocumentWords = NO_WORDS) -> Iterator[Mention]:
    """Yield words of capitals; if "(ABC)" follows the words it abbreviates, they are its `value`."""
    text = _masked(text)
    for found in _ACRONYM.finditer(text):
        letters = found[0].rstrip("s")
        is_word = sum(char.isalpha() for char in letters) >= 2 and not _ROMAN.fullmatch(letters)
        if not is_word or letters in _UNITS or _is_shouted(text, found):
            continue
        value = _expansion(text, found.start(), letters)
        if value or not _is_emphasised(letters, known):
            yield Mention(found.start(), found.end(), "acronym", value)


def _masked(text: str) -> str:
    """Return *text* with blanks in place of what is no running text."""
    return _CODE.sub(lambda code: " " * len(code[0]), text) if "`" in text or "](" in text else text


def _is_emphasised(letters: str, known: DocumentWords) -> bool:
    """Return whether a word in capitals is an ordinary word: MUST (RFC 2119), NOT, README, RUNNING."""
    if is_common(letters.rstrip("0123456789")) or _EMPHASISED.fullmatch(letters) or known.is_placeholder(letters):
        return True
    return len(letters) > MAX_SPELT_CHARACTERS and known.small(letters) > 0


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
    if between == "/":  # "GNU/Linux"
        return last.text.isupper() and len(last.text) > 1 and not word.text.isupper()
    return between == " & " or bool(_BETWEEN.fullmatch(between))


def _classified(text: str, sequence: Sequence[_Word], reading: _Reading) -> Iterator[Mention]:
    words = _without_ordinary_start(text, _without_common_words(sequence), reading)
    titles = 0
    belonging = next((at for at, word in enumerate(words) if at > 1 and word.text == "of"), None)
    if belonging and _place_of_person(text, words[:belonging], reading) == 0:  # "Ada Lovelace of ABC"
        yield _mention(words[:belonging], "person")
        words = words[belonging + 1 :]
    while titles < len(words) and _is_title(text, words[titles]):
        titles += 1
    capitalised = sum(word.is_capitalised for word in words)
    if capitalised > MAX_WORDS or titles == len(words):
        return
    ends_organisation = capitalised > 1 and bool(_ENDING.fullmatch(words[-1].text))
    if titles:
        place = _place_of_particle(words, titles) if ends_organisation else len(words)
        yield _mention(words[titles:place], "person")
        yield from _classified(text, words[place:], reading)
    elif ends_organisation or (capitalised > 1 and _is_institution(words)):
        yield _mention(words[_place_of_organisation(words) :], "organisation")
    elif _are_capitals(words):
        return  # acronyms, or a line in capitals
    elif (first := _place_of_person(text, words, reading)) is not None:
        yield from _classified(text, words[:first], reading)
        yield _mention(words[first:], "person")
    elif capitalised > 1:
        if not _may_be_no_name(words, reading):
            yield _mention(words, "name")
        elif not (_begins_sentence(text, sequence[0].start) or _is_nominal(words)):  # a title of everyday words is none
            yield _mention(words, "word")
    elif _stands_out(text, words[0], sequence[0], reading):
        yield _mention(words, "word")


def _place_of_person(text: str, words: Sequence[_Word], reading: _Reading) -> int | None:
    """Return where a person's name begins in *words*: at a given name, at initials, or before an address of mail."""
    for place in range(len(words) - 1):
        first, rest = words[place], words[place + 1 :]
        if (
            len(rest) >= MAX_PERSON_WORDS
            or _STREET.fullmatch(rest[-1].text)
            or not all(reading.may_be_surname(word) for word in rest)
        ):
            continue
        if is_given_name(first.text) and rest[-1].is_capitalised and len(rest[-1].text) > 1:
            return place
        has_initial = len(first.text) == 1 and first.text.isupper() and text[first.end : first.end + 1] == "."
        if has_initial and len(rest[-1].text) > 2 and rest[-1].is_capitalised:
            return place
    if (
        1 < len(words) <= MAX_PERSON_WORDS
        and _ADDRESS.match(text, words[-1].end)
        and all(reading.may_be_surname(word) for word in words)
    ):
        return 0
    return None


def _is_title(text: str, word: _Word) -> bool:
    """Return whether *word* is a title; a single letter ("M." for Monsieur) only with its full stop."""
    return bool(_TITLE.fullmatch(word.text)) and (len(word.text) > 1 or text[word.end : word.end + 1] == ".")


def _are_capitals(words: Sequence[_Word]) -> bool:
    """Return whether the words are all in capitals, or mostly."""
    capitals = sum(len(word.text) > 1 and word.text.isupper() for word in words)
    return capitals > 1 or capitals == len(words)


def _stands_out(text: str, word: _Word, first: _Word, reading: _Reading) -> bool:
    """Return whether a single word has its capital because it is a name."""
    if reading.nouns_have_capitals or len(word.text) < MIN_WORD_CHARACTERS or _is_plural_acronym(word.text):
        return False
    if reading.is_ordinary(word.text):
        return False
    return word is not first or not _begins_sentence(text, word.start)


def _may_be_no_name(words: Sequence[_Word], reading: _Reading) -> bool:
    """Return whether only repetition shows that *words* are a name: nouns in German, title case of everyday words."""
    spelt = [word.text for word in words if word.is_capitalised]
    if reading.nouns_have_capitals and _is_nominal(words):
        return True
    if reading.nouns_have_capitals and (
        len(spelt) < len(words) or any("-" in word or word.isupper() or _NOUN.fullmatch(word) for word in spelt)
    ):
        return True
    return all(
        reading.is_ordinary(word) or (len(word) > 1 and word.isupper()) or _is_plural_acronym(word) for word in spelt
    )


def _is_nominal(words: Sequence[_Word]) -> bool:
    """Return whether *words* are a German verb as a noun, with its object: "Bearbeiten von Dateien"."""
    return words[0].text.endswith("en") and words[1].text in ("von", "der", "des", "den", "zu")


def _is_plural_acronym(word: str) -> bool:
    return word.endswith("s") and len(word) > MIN_WORD_CHARACTERS - 1 and word[:-1].isupper()


def _without_ordinary_start(text: str, words: list[_Word], reading: _Reading) -> list[_Word]:
    """Return *words* without those in front that have their capital from the sentence, or, in German, as nouns."""
    at = 0
    begins = bool(words) and _begins_sentence(text, words[0].start)
    while len(words) - at > 1:
        word = words[at].text
        by_sentence = (
            at == 0 and begins and reading.is_ordinary(word) and not is_given_name(word) and not _is_line(text, words)
        )
        by_noun = (
            reading.nouns_have_capitals
            and _NOUN.fullmatch(word)
            and not (is_given_name(word) or _BEGINNING.fullmatch(word) or _TITLE.fullmatch(word))
        )
        if not by_sentence and not (by_noun and words[at + 1].is_capitalised and not _ENDING.fullmatch(words[-1].text)):
            break
        at += 1
        while at < len(words) - 1 and not words[at].is_capitalised:
            at += 1
    return words[at:]


def _is_line(text: str, words: Sequence[_Word]) -> bool:
    """Return whether *words* are the name of an organisation that stands alone in its line."""
    if not _ENDING.fullmatch(words[-1].text):
        return False
    left = text[max(0, words[0].start - LEFT_CHARACTERS) : words[0].start].rpartition("\n")[2]
    right = text[words[-1].end : words[-1].end + LEFT_CHARACTERS].partition("\n")[0]
    return not left.strip(_MARKS) and not right.partition("<")[0].strip(_MARKS + ".,;)]")


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


def _place_of_organisation(words: Sequence[_Word]) -> int:
    """Return where "projet GNU de la Free Software Foundation" begins to be the organisation."""
    if _BEGINNING.fullmatch(words[0].text):
        return 0
    places = [
        at for at, word in enumerate(words) if not word.is_capitalised and not _ENGLISH_PARTICLE.fullmatch(word.text)
    ]
    after = places[-1] + 1 if places else 0
    return after if sum(word.is_capitalised for word in words[after:]) > 1 else 0


def _mention(words: Sequence[_Word], kind: str) -> Mention:
    last = words[-1]
    return Mention(words[0].start, last.end - len(last.text) + len(_POSSESSIVE.sub("", last.text)), kind)


def _is_institution(words: Sequence[_Word]) -> bool:
    return bool(_BEGINNING.fullmatch(words[0].text)) and not words[1].is_capitalised


def _begins_sentence(text: str, place: int) -> bool:
    left = text[max(0, place - LEFT_CHARACTERS) : place]
    before = left.rstrip(_MARKS)
    return not before or before[-1] in _BEFORE_SENTENCE or "\n\n" in left or _ITEM.search(left) is not None


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
