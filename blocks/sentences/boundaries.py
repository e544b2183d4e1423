"""Sentences of a text with their exact place in it; pure.

Owns the rule where a sentence ends: at a full stop, a question or an exclamation mark with a blank after it, unless
what stands on either side says otherwise: an abbreviation, an initial, an ordinal, a date in pieces, a small letter.
Where two readings compete ("Brenner Inc. Orme"), it does not end: a statement of two sentences says what they say, half
a sentence does not. Takes time in proportion to the text.

Compared with pysbd, syntok, sentencex and blingfire in `benchmarks/facts.py`.
"""

from __future__ import annotations

import re

from blocks.sentences.abbreviations import (
    BEFORE_ORDINAL,
    CLOSABLE,
    LABELS,
    OPEN,
    ORDINAL_LANGUAGES,
    STARTERS,
    UNITS,
    WORDS_TOO,
)

Span = tuple[int, int]

# What is looked at on either side of a mark.
LEFT_CHARACTERS, RIGHT_CHARACTERS = 60, 30

_CLOSING = r"\"'”’»)\]*_"
# White space after an end mark and closing signs; or, where there is none, the full-width marks. Armenian, Ethiopic,
# Burmese and Khmer have their own.
_GAP = re.compile(
    rf"(?P<mark>[.!?…؟।۔։።၊။៖។])(?P<closing>[{_CLOSING}]{{0,4}}(?:\[\^[^\]\s]{{1,20}}\]|\^\d{{1,3}}\^){{0,3}})(?P<blank>\s+)|(?<=[。！？])(?![。！？」』”’）\s])"
)
_OPENING = "\"'“„‘«¿¡([*_>"
_NUMBER = re.compile(r"(?:^|(?<=[.\-–/]))\d+$")
_PART = re.compile(r"[(/'’-]")
_ROMAN = re.compile(r"[IVXLCDM]{1,7}")
_VOWELS = frozenset("aeiouyäöüáéíóúàèìòùâêîôûãõåæøœąęаеёиоуыэюяіїєάέήίόύώαεηιουω")


def language_code(tag: str | None) -> str:
    """Return the two-letter code of a language tag ("de-CH" -> "de"); English for none."""
    return re.split(r"[-_]", tag or "")[0].lower() or "en"


def sentence_spans(text: str, language: str = "en") -> list[Span]:
    """Return start and end of each sentence of *text* in order. Between them is nothing but white space.

    Meant for a paragraph at a time; a line end is white space like any other.
    """
    spans: list[Span] = []
    start = 0
    for gap in _GAP.finditer(text):
        if gap["mark"] and not _ends_sentence(text, gap, start, language):
            continue
        end = gap.start("blank") if gap["mark"] else gap.start()
        _add(spans, text, start, end)
        start = gap.end()
    _add(spans, text, start, len(text))
    return spans


def _add(spans: list[Span], text: str, start: int, end: int) -> None:
    content = text[start:end]
    if stripped := content.strip():
        first = start + content.index(stripped[0])
        spans.append((first, first + len(stripped)))


def _ends_sentence(text: str, gap: re.Match[str], start: int, language: str) -> bool:
    """Return whether the sentence that began at *start* ends at this mark."""
    after = text[gap.end() : gap.end() + RIGHT_CHARACTERS]
    following = after.lstrip(_OPENING)
    if not following:
        return True
    if following[0].islower() and not _is_camel(following):
        return False
    if gap["mark"] != ".":
        return True
    if gap["closing"] and gap["closing"][0] in ')]"”»':
        return after[:1] not in "&,;:)%/"
    if after[0] in "&,;:)%/–—=+":
        return False
    words = text[max(start, gap.start() - LEFT_CHARACTERS) : gap.start()].split()
    if not words or not (word := words[-1].lstrip(_OPENING).rstrip("\\")):  # "12\\. März" at the beginning of a line
        return True
    return _closes(word, words[-2] if len(words) > 1 else "", after, following, language)


def _closes(word: str, previous: str, after: str, following: str, language: str) -> bool:
    """Return whether a sentence ends after *word* and its full stop."""
    starts = _first_word(following) in STARTERS and not after.startswith(("[", "("))
    if number := _NUMBER.search(word):
        return _number_closes(number[0], word[: number.start()] or previous, following, language, starts=starts)
    bare = _PART.split(word)[-1]
    folded = bare.lower()
    if (previous[-1:].isdecimal() or previous.endswith(("^", "½"))) and _is_unit(folded):
        # A unit: "2.1 mm. The"; but "in 1954 K. Quill".
        return not (len(bare) == 1 and bare.isupper() and len(previous) == 4) or starts
    if len(bare) == 1 and bare.isalpha():
        # An initial, or a part of "z. B."; "plan B. The next step" ends, and so does "1200 m ü. M."
        starts = starts and not re.match(r"[^\W\d_]\.", following)  # "S. A." is a company
        return (starts and bool(previous) and not previous.endswith(".")) or (previous == "ü." and bare == "M")
    if folded == "in" and previous == "i":  # Polish: et al.
        return starts
    if folded in OPEN:
        return _is_exception(folded, following, starts=starts)
    if folded in CLOSABLE or _is_pointed(bare) or _has_no_vowel(bare):
        return starts
    if _ROMAN.fullmatch(bare) and language in ORDINAL_LANGUAGES and previous:
        return starts
    return True


def _number_closes(word: str, previous: str, following: str, language: str, *, starts: bool) -> bool:
    if not previous:
        return False  # the number of an item
    if len(word.lstrip("0")) <= 2 and re.match(r"\d{1,2}\.\s?\d{4}|\d{4}(?!\d)", following) and following[0].isdigit():
        # "12. 3. 2024", and after "12." its "3. 2024"
        return not (re.match(r"\d{1,2}\.\s?\d{4}", following) or re.search(r"\d\.$", previous))
    if language not in ORDINAL_LANGUAGES or len(word) > 2 or previous[-1].isdecimal():
        return True
    folded = previous.lower().strip(_OPENING + ",;")
    if folded.rstrip(".") in LABELS:
        return True
    if folded in BEFORE_ORDINAL or previous[-1] in "./–-&,":
        return False
    # Only in German do ordinals stand before capitals; after a noun a number is its own ("Raum 12.").
    return starts or following[0].isdigit() or language != "de" or previous[0].isupper()


def _is_exception(folded: str, following: str, *, starts: bool) -> bool:
    """Return whether a word that is an abbreviation as a rule is a word here, or ends a sentence: "he said no. The"."""
    if folded in ("no", "nos", "nr", "fig", "pp", "art", "abs", "p", "vol"):
        return starts and not following[0].isdigit()
    return folded in WORDS_TOO and starts


def _is_unit(folded: str) -> bool:
    """Return whether a short word after a number is its unit."""
    return (
        len(folded) <= 4
        and not _is_pointed(folded)
        and (len(folded) == 1 or folded in UNITS or folded not in OPEN | CLOSABLE)
    )


def _first_word(following: str) -> str:
    found = re.match(r"[^\W\d_]+(?:['’](?=\w))?", following)
    return found[0].replace("’", "'") if found else ""


def _is_pointed(word: str) -> bool:
    """Return whether a word has full stops inside: "U.S", "e.V"."""
    return bool(re.fullmatch(r"(?:[^\W\d_]{1,3}\.)+[^\W\d_]{1,3}", word))


def _has_no_vowel(word: str) -> bool:
    """Return whether a short word cannot be spoken, so that it is an abbreviation; not one in capitals."""
    return (
        2 <= len(word) <= 4
        and word.isalpha()
        and not word.isupper()
        and word[0].isascii()
        and not _VOWELS & set(word.lower())
    )


def _is_camel(following: str) -> bool:
    """Return whether a word begins with a small letter and has a capital: "iPhone"."""
    word = _first_word(following)
    return len(word) > 2 and word[1].isupper()
