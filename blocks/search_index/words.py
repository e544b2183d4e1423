"""Prepare text for Postgres's full-text search; pure.

Postgres's parser takes URLs, host names, e-mail addresses and file paths for single words, drops anything that looks
like an XML tag, and takes a whole sentence of a script without spaces for one word, while people search for parts. The
same rules apply to indexed text and to queries, so both are split alike.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from math import ceil

# Postgres's text search configuration for each language with a stemmer, by ISO 639-1 code (PostgreSQL manual, 12.6;
# `select cfgname from pg_ts_config`). A server that is too old for one falls back to `NO_STEMMER`.
_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "et": "estonian", "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "nb": "norwegian",
    "ne": "nepali", "nl": "dutch", "nn": "norwegian", "no": "norwegian", "pt": "portuguese", "ro": "romanian",
    "ru": "russian", "sr": "serbian", "sv": "swedish", "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip

# Words unchanged but for lower case. Indexed for every language; the only form of languages without a stemmer.
NO_STEMMER = "simple"

# A tsvector may have 1 MB (PostgreSQL manual, 12.11), which holds both forms of every word and their positions. 50,000
# characters of any kind stay below it; a chunk has about 1,000.
MAX_SEARCHABLE_CHARACTERS = 50_000

_LEFT_OUT = frozenset("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff")
_INVISIBLE = re.compile(f"[{''.join(sorted(_LEFT_OUT))}]")
# An accent on a Latin or Greek letter. Elsewhere a mark makes another letter (й, が), for stemmers and people alike.
_ACCENT = re.compile("([A-Za-z\u0370-\u03ff])[\u0300-\u036f]+")
# Letters that Unicode does not decompose.
_FOLDED = str.maketrans({
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
    "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH", "ı": "i", "ё": "е", "Ё": "Е",
})  # fmt: skip
# Separators that Postgres would keep inside one word, and the brackets of text that it would drop as a tag.
_SEPARATORS = re.compile(r"[\x00\ud800-\udfff/\\<>@_]|(?<=\w)-(?=\w)|(?<=[^\W\d_])\.(?=[^\W\d_])")
# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, kana and Han with its extensions.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003347f]+"
)
# Spelling without umlaut keys (DIN 5007 variant 2; å and ø alike).
_SPELLED_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ø": "oe", "å": "aa"})
_DIGRAPH = re.compile(r"([aou])e", re.IGNORECASE)
_WORD = re.compile(r"\w+")
# ASCII letters and digits, or anything that is not ASCII, which is looked at closer.
_RUN = re.compile(r"(?:[A-Za-z0-9]|[^\x00-\x7f])+")
# Three fifths of a word is what "installation", "installiert" and "installare" have in common; four letters are no
# coincidence any more.
_BEGINNING_SHARE, _MIN_LETTERS = 0.6, 5
# A drawn line, such as a rule of Markdown. Postgres takes each hyphen for a "not", and refuses 32 of them.
_LINE = re.compile(r"-(?:\s*-)+")
_EXCLUSION = re.compile(r'(?:^|(?<=\s))-(?:"[^"]*"|\w\S*)')
# The operators of websearch_to_tsquery that narrow: "a phrase", -word.
_EXACT = re.compile(r'"[^"]*\w[^"]*"|(?:^|\s)-[\w"]')


def searchable_text(text: str) -> str:
    """Return *text* without accents, with a space at each end of a word, at most `MAX_SEARCHABLE_CHARACTERS` long.

    A run of a script without spaces becomes its overlapping pairs of characters ("東京都" -> "東京 京都"), the usual
    way to search such text without a dictionary. Query operators (``"``, a leading ``-``, ``or``) pass unchanged.
    """
    folded = fold_accents(_INVISIBLE.sub("", text[:MAX_SEARCHABLE_CHARACTERS]))
    return _UNSPACED.sub(_pairs, _SEPARATORS.sub(" ", folded))[:MAX_SEARCHABLE_CHARACTERS]


def fold_accents(text: str) -> str:
    """Return *text* in Unicode's compatibility form with plain Latin and Greek letters: "Größe" -> "Grosse"."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", text.translate(_FOLDED))
    return unicodedata.normalize("NFC", _ACCENT.sub(r"\1", decomposed))


def spelling_variants(query: str) -> list[str]:
    """Return *query* as searchable text in each spelling of its umlauts: "Müller", also "Mueller" and "Muller"."""
    plain = searchable_text(query)
    spelled_out = searchable_text(unicodedata.normalize("NFC", query).translate(_SPELLED_OUT))
    return list(dict.fromkeys([plain, spelled_out, _DIGRAPH.sub(r"\1", plain)]))


def word_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each word of *text*: letters and digits of any script with their accents and vowel signs.

    A run of a script without spaces is a word of its own. Words are as short as those of the index, or shorter.
    """
    for run in _RUN.finditer(text):
        if run.group().isascii():
            yield run.span()
            continue
        start = None
        for place in range(run.start(), run.end() + 1):
            is_letter = place < run.end() and text[place].isalnum()
            # Inside a word: accents and vowel signs, and what the index leaves out, such as a soft hyphen.
            is_inside = is_letter or (
                place < run.end() and (text[place] in _LEFT_OUT or unicodedata.category(text[place])[0] == "M")
            )
            if is_letter and start is None:
                start = place
            elif not is_inside and start is not None:
                yield from _by_script(text, start, place)
                start = None


def is_unspaced_word(word: str) -> bool:
    """Return whether *word* is of a script that is written without spaces."""
    return _UNSPACED.match(word) is not None


def words_of(query: str, limit: int) -> dict[str, str]:
    """Return the first *limit* different words of *query* as searchable text, each with the word as it was typed.

    The typed word decides whether it is a stop word: "für" is one, "fur" is none. Of a script without spaces each pair
    of characters is a word, since nothing shows where its words end.
    """
    words: dict[str, str] = {}
    for typed in _WORD.findall(unicodedata.normalize("NFC", query)):
        for variant in spelling_variants(typed):
            for word in variant.split():
                words.setdefault(word, word if is_unspaced_word(word) else typed)
        if len(words) >= limit:
            break
    return dict(islice(words.items(), limit))


def beginning_of(word: str) -> str:
    """Return the beginning that *word* shares with inflections and cognates; empty if it is too short to have one."""
    if len(word) < _MIN_LETTERS or not word.isalpha() or _UNSPACED.search(word):
        return ""
    return word.lower()[: max(_MIN_LETTERS - 1, ceil(_BEGINNING_SHARE * len(word)))]


def stemmer_for(language: str | None) -> str:
    """Return the name of Postgres's text search configuration for a BCP 47 tag, or `NO_STEMMER`."""
    return _STEMMERS.get(re.split(r"[-_]", language or "", maxsplit=1)[0].lower(), NO_STEMMER)


def has_words(text: str) -> bool:
    """Return whether *text* has anything to search for: a letter or a digit of any script."""
    return any(char.isalnum() for char in text)


def is_exact(text: str) -> bool:
    """Return whether a query quotes a phrase or excludes a word, so that only literal matches are wanted."""
    return _EXACT.search(text) is not None


def without_lines(query: str) -> str:
    """Return *query* without runs of hyphens, which exclude nothing."""
    return _LINE.sub(" ", query)


def meaning_of(query: str) -> str:
    """Return *query* without operators and excluded words: the text to embed."""
    return _EXCLUSION.sub(" ", query).replace('"', " ").strip() or query


def _by_script(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for unspaced in _UNSPACED.finditer(text, start, end):
        if unspaced.start() > start:
            yield start, unspaced.start()
        yield unspaced.span()
        start = unspaced.end()
    if start < end:
        yield start, end


def _pairs(run: re.Match[str]) -> str:
    chars = run.group()
    pairs = [chars[i : i + 2] for i in range(len(chars) - 1)] or [chars]
    return f" {' '.join(pairs)} "
