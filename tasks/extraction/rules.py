"""The extractive method: mentions and statements by rules, without a model.

Owns the precedence of the kinds of mention, which sentences are kept, and how they rank. A sentence is kept if it has
an amount, a date, a name or a definition; a row of a table, if it has a number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from blocks.sentences import language_code, sentence_spans
from tasks.extraction import vocabulary
from tasks.extraction.amounts import amounts
from tasks.extraction.dates import dates
from tasks.extraction.evidence import Fact, Found, Mention, within, without_overlaps
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.names import acronyms, names
from tasks.extraction.passages import Passage
from tasks.extraction.references import references
from tasks.extraction.units import shared_signs
from tasks.extraction.whole import interrupted, torn_seams
from tasks.text.key_phrases import KeyPhrase
from tasks.text.prose import mention_spans, pieces, plain_text, without_quote_signs, without_struck
from tasks.text.tables import table_rows

# A capitalised word in mid-sentence is a name if it is repeated; once, it may be emphasis or an error.
MIN_WORD_REPEATS = 2

# Shorter sentences are captions and answers, longer ones lists that lost their structure.
MIN_STATEMENT_CHARACTERS = 20
MAX_STATEMENT_CHARACTERS = 500
# Chinese and Japanese need a third of the characters that alphabets do.
MIN_DENSE_CHARACTERS = 7
# Of the signs of a sentence; with fewer it is a record ("2024-01-17;05:20;46;31;drift").
MIN_LETTERS_SHARE = 0.3

# What a mention adds to a sentence's rank: amounts and dates can be checked, names alone say little. Each kind counts
# once. The user looks for the names of the gazetteer.
_WEIGHTS = {
    "money": 1.2,
    "percent": 1.0,
    "quantity": 1.0,
    "date": 1.0,
    "person": 0.7,
    "organisation": 0.7,
    "name": 0.4,
    "acronym": 0.3,
    "email": 0.3,
    "citation": 0.2,
    "url": 0.1,
}
_GAZETTEER_WEIGHT = 1.0
_DEFINITION_WEIGHT = 1.5
_PHRASE_WEIGHT = 0.5
# A sentence that depends on the previous one ("This is...") says less by itself.
_LEANING_SHARE = 0.7
# Prose says more than a row of a table: rows rank after all but the weakest sentences.
_ROW_WEIGHT = 0.2
_ROW_SHARE = 0.25

_AMOUNTS = ("money", "percent", "quantity")
_POINTERS = ("email", "url", "citation")
_DEFINITION = re.compile(vocabulary.DEFINITIONS, re.I)
_LEANING = re.compile(
    r"(?:this|that|these|those|it|they|he|she|such|dies\w*|das|es|sie|er|ce\w*|cela|il|elle|ils|esto|eso|él|ella)\b",
    re.I,
)
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def find_mentions(passages: Sequence[Passage], language: str, gazetteer: Gazetteer) -> list[Found]:
    """Return every mention of the passages, in order; the same place in two overlapping passages counts once."""
    shared = shared_signs([passage.text for passage in passages], language)
    found = [
        Found(passage, mention)
        for passage in passages
        for mention in without_overlaps(_candidates(passage, language, gazetteer, shared))
    ]
    repeats = Counter(one.quote for one in found if one.mention.type in ("word", "name"))
    seen: set[tuple[int, int]] = set()
    kept: list[Found] = []
    for one in found:
        if one.mention.type == "word":
            if repeats[one.quote] < MIN_WORD_REPEATS:
                continue
            one = replace(one, mention=replace(one.mention, type="name"))  # noqa: PLW2901 (confirmed by repetition)
        if one.place not in seen:
            seen.add(one.place)
            kept.append(one)
    return kept


def _candidates(passage: Passage, language: str, gazetteer: Gazetteer, shared: frozenset[str]) -> Iterator[Mention]:
    """Yield mentions in order of precedence: the user's names, then what its form makes certain, then the likely."""
    text = passage.text
    yield from gazetteer.find(text)
    yield from references(text)
    readers: tuple[Callable[[str], Iterator[Mention]], ...] = (
        lambda part: dates(part, language),
        lambda part: amounts(part, language, shared),
        lambda part: names(part, language),
        acronyms,
    )
    read_text = without_struck(text)
    parts = [(start, read_text[start:end]) for start, end in mention_spans(text, passage.inside)]
    for read in readers:
        for offset, part in parts:
            for mention in read(part):
                yield replace(mention, start=mention.start + offset, end=mention.end + offset)


def select_facts(
    passages: Sequence[Passage], found: Sequence[Found], phrases: Sequence[KeyPhrase], language: str, limit: int
) -> list[Fact]:
    """Return the *limit* best statements of the passages, in the document's order; equal ones once."""
    by_passage: dict[str, list[Mention]] = {}
    for one in found:
        by_passage.setdefault(one.passage.id, []).append(one.mention)
    statements: dict[str, Fact] = {}
    torn: dict[str, set[str]] = {}
    for name, side in torn_seams(passages, language_code(language)):
        torn.setdefault(name, set()).add(side)
    for passage in passages:
        sides = torn.get(passage.id, set[str]())
        for fact in _statements(passage, by_passage.get(passage.id, []), phrases, language, sides):
            statements.setdefault(fact.statement.casefold(), fact)
    ranked = sorted(statements.values(), key=lambda fact: (-(fact.score or 0), fact.place))[:limit]
    best = max((fact.score or 0 for fact in ranked), default=1) or 1
    return sorted(
        (replace(fact, score=round((fact.score or 0) / best, 3)) for fact in ranked), key=lambda fact: fact.place
    )


def _statements(
    passage: Passage, mentions: Sequence[Mention], phrases: Sequence[KeyPhrase], language: str, torn: set[str]
) -> Iterator[Fact]:
    """Yield the rows and sentences that say something; *torn* says on which sides the passage tears a sentence."""
    for row in table_rows(passage.text, passage.table_header, passage.inside):
        if row.is_heading:
            continue
        kinds = {mention.type for mention in within(mentions, row.start, row.end)}
        if (statement := str(row)) and any(map(str.isdigit, statement)):
            score = _ROW_WEIGHT + _ROW_SHARE * _worth(kinds)
            yield Fact(passage, row.start, row.end, type="row", statement=statement, score=score)
    found = list(pieces(passage.text, passage.inside))
    begin, stop = interrupted(passage.text, [(piece.start, piece.end) for piece in found])
    for at, piece in enumerate(found):
        start, end = piece.start, piece.end
        prose = passage.text[start:end]
        # Finding sentences takes most of the time, so only prose that could have a statement is split.
        if not any(within(mentions, start, end)) and not _DEFINITION.search(prose):
            continue
        sentences = sentence_spans(prose, language_code(language))
        if at in begin or (at == 0 and "start" in torn):
            sentences = sentences[1:]
        if at in stop or (at == len(found) - 1 and "end" in torn):
            sentences = sentences[:-1]
        for first, last in sentences:
            inside = list(within(mentions, start + first, start + last))
            quote = passage.text[start + first : start + last]
            # In a layout a star is a star.
            words = " ".join(quote.split()) if piece.is_layout else plain_text(without_quote_signs(quote))
            fact = _statement(passage, (start + first, start + last), words, inside, phrases)
            if fact is not None:
                yield fact


def _statement(
    passage: Passage, place: tuple[int, int], statement: str, mentions: Sequence[Mention], phrases: Sequence[KeyPhrase]
) -> Fact | None:
    least = MIN_DENSE_CHARACTERS if _DENSE.search(statement) else MIN_STATEMENT_CHARACTERS
    if not least <= len(statement) <= MAX_STATEMENT_CHARACTERS or statement[-1] in "?？:" or "|" in statement:
        return None
    if sum(map(str.isalpha, statement)) < MIN_LETTERS_SHARE * len(statement.replace(" ", "")):
        return None
    kinds = {mention.type for mention in mentions}
    defines = bool(_DEFINITION.search(statement))
    kind = _kind(kinds, defines=defines)
    if kind is None:
        return None
    lowered = statement.lower()
    score = _worth(kinds) + _DEFINITION_WEIGHT * defines
    score += _PHRASE_WEIGHT * min(1.0, sum(phrase.score for phrase in phrases if phrase.text.lower() in lowered))
    if _LEANING.match(statement):
        score *= _LEANING_SHARE
    return Fact(passage=passage, start=place[0], end=place[1], type=kind, statement=statement, score=score)


def _worth(kinds: set[str]) -> float:
    # In order: a sum of floats in a set's order differs in its last digit from process to process.
    return sum(_WEIGHTS.get(kind, _GAZETTEER_WEIGHT) for kind in sorted(kinds))


def _kind(kinds: set[str], *, defines: bool) -> str | None:
    """Return what a sentence is kept for; None when it has no mention, or only pointers to elsewhere."""
    if defines:
        return "definition"
    if kinds & set(_AMOUNTS):
        return "quantity"
    if "date" in kinds:
        return "date"
    return "entity" if kinds - set(_POINTERS) else None
