"""Where the words of a question occur in found passages, in any inflection that the document's stemmer knows.

Postgres stems the words of passages and question alike, as it does for the index, so what is marked is what was found.
Scripts without spaces are marked by pairs of characters, as they are indexed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import AsyncConnection
from psycopg.rows import tuple_row

from blocks.search_index.words import (
    MAX_SEARCHABLE_CHARACTERS,
    is_unspaced_word,
    meaning_of,
    searchable_text,
    spelling_variants,
    word_spans,
)
from blocks.sentences import Span

# As many as search looks for.
MAX_TERMS = 32
# Different words that are stemmed for one answer; a hundred passages of a thousand characters have 5,000.
_MAX_WORDS = 20_000

# A stop word has no lexeme in its language. A configuration that this server has not leaves the words as they are.
_LEXEMES: LiteralString = """
    select stemmer, word, tsvector_to_array(to_tsvector('simple', word)),
           case when configuration is not null then tsvector_to_array(to_tsvector(configuration, word)) end
      from unnest(%(stemmers)s::text[], %(words)s::text[]) given (stemmer, word)
      left join (select cfgname::text, oid::regconfig from pg_ts_config
                  where cfgnamespace = 'pg_catalog'::regnamespace and cfgname <> 'simple') known (name, configuration)
        on name = stemmer
"""

_Key = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A word of the question in a passage: characters ``[start, end)``, and which of its terms it is."""

    start: int
    end: int
    term: int


@dataclass(frozen=True, kw_only=True)
class _Term:
    """A word of the question: its spellings, and the pairs of characters of it that are written without spaces."""

    typed: str
    words: frozenset[str]
    pairs: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Lexemes:
    """The lexemes of each word by stemmer, and which words the stemmer's language does not count."""

    of_word: dict[_Key, frozenset[str]] = field(default_factory=dict[_Key, frozenset[str]])
    stop_words: set[_Key] = field(default_factory=set[_Key])


async def find_marks(
    connection: AsyncConnection[Any], question: str, passages: Sequence[tuple[str, str]]
) -> list[list[Mark]]:
    """Return the marks of each passage, given as stemmer and text, in the order of the text.

    Stop words are marked only if the question has no other words. Beyond what the index holds of a passage, nothing is.
    """
    terms = _terms(question)
    tokens = [list(_tokens(text[:MAX_SEARCHABLE_CHARACTERS])) for _, text in passages]
    stemmers = list(dict.fromkeys(stemmer for stemmer, _ in passages))
    wanted: dict[_Key, None] = {}
    for stemmer in stemmers:
        for term in terms:
            wanted.update(dict.fromkeys((stemmer, word) for word in (*term.words, term.typed.lower())))
    for (stemmer, _), found in zip(passages, tokens, strict=True):
        for word, _ in found:
            if len(wanted) < _MAX_WORDS and (word.isascii() or not is_unspaced_word(word)):
                wanted[stemmer, word] = None
    lexemes = await _read_lexemes(connection, wanted)
    counted = _without_stop_words(terms, stemmers, lexemes)
    return [_marks(stemmer, found, counted, lexemes) for (stemmer, _), found in zip(passages, tokens, strict=True)]


def merged(marks: Iterable[Mark]) -> list[Span]:
    """Return *marks* as spans that do not overlap; those of a script without spaces that touch become one."""
    spans: list[Span] = []
    for mark in sorted(marks, key=lambda mark: (mark.start, mark.end)):
        if spans and mark.start < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], mark.end))
        else:
            spans.append((mark.start, mark.end))
    return spans


def _terms(question: str) -> list[_Term]:
    terms: list[_Term] = []
    meaning = unicodedata.normalize("NFC", meaning_of(question))
    typed_words = dict.fromkeys(meaning[start:end] for start, end in word_spans(meaning))
    for typed in list(typed_words)[:MAX_TERMS]:
        pieces = {piece for variant in spelling_variants(typed) for piece in variant.split()}
        pairs = frozenset(filter(is_unspaced_word, pieces))
        terms.append(_Term(typed=typed, words=frozenset(pieces - pairs), pairs=pairs))
    return terms


def _tokens(text: str) -> Iterator[tuple[str, Span]]:
    """Yield the words of *text* as they are indexed, and the characters of scripts without spaces in pairs."""
    for start, end in word_spans(text):
        word = text[start:end]
        if word.isascii():  # most words: they are searchable as they are
            yield word, (start, end)
            continue
        if not is_unspaced_word(word):
            folded = searchable_text(word).strip()
            yield folded, (start, end)
            continue
        for place in range(start, end):  # a question may be a single character
            yield searchable_text(text[place]).strip(), (place, place + 1)
            if place + 1 < end:
                yield searchable_text(text[place : place + 2]).strip(), (place, place + 2)


async def _read_lexemes(connection: AsyncConnection[Any], wanted: Iterable[_Key]) -> _Lexemes:
    keys = list(wanted)
    lexemes = _Lexemes()
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_LEXEMES, {"stemmers": [key[0] for key in keys], "words": [key[1] for key in keys]})
    for stemmer, word, plain, stemmed in await cursor.fetchall():
        lexemes.of_word[stemmer, word] = frozenset(plain) | frozenset(stemmed or ())
        if plain and stemmed == []:
            lexemes.stop_words.add((stemmer, word))
    return lexemes


def _without_stop_words(terms: Sequence[_Term], stemmers: Sequence[str], lexemes: _Lexemes) -> dict[int, _Term]:
    """Return the terms that count, by their place: as typed, because "für" is a stop word and "fur" is none."""
    numbered = dict(enumerate(terms))
    counted = {
        number: term
        for number, term in numbered.items()
        if not any((stemmer, term.typed.lower()) in lexemes.stop_words for stemmer in stemmers)
    }
    return counted or numbered


def _marks(stemmer: str, tokens: Iterable[tuple[str, Span]], terms: dict[int, _Term], lexemes: _Lexemes) -> list[Mark]:
    of_lexeme: dict[str, int] = {}
    for number, term in terms.items():
        for word in term.words:
            for lexeme in lexemes.of_word.get((stemmer, word), ()):
                of_lexeme.setdefault(lexeme, number)
        for pair in term.pairs:
            of_lexeme.setdefault(pair, number)
    marks: list[Mark] = []
    for word, (start, end) in tokens:
        found = (of_lexeme[one] for one in lexemes.of_word.get((stemmer, word), (word,)) if one in of_lexeme)
        number = next(found, None)
        if number is not None:
            marks.append(Mark(start=start, end=end, term=number))
    return marks
