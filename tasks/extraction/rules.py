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
from tasks.extraction.amounts import amounts
from tasks.extraction.boilerplate import (
    is_boilerplate,
    is_boilerplate_section,
    is_navigation,
    is_notice,
    may_have_notices,
)
from tasks.extraction.dates import dates
from tasks.extraction.definitions import defined_subject, is_weak_definition
from tasks.extraction.evidence import Fact, Found, Mention, within, without_overlaps
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.lexicon import DocumentWords
from tasks.extraction.names import acronyms, names
from tasks.extraction.passages import Passage
from tasks.extraction.references import references
from tasks.extraction.units import shared_signs
from tasks.extraction.whole import interrupted, torn_seams
from tasks.extraction.worth import SALIENT_NAMES, Subject, standing, worth, worth_of_row
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

# A sentence that repeats most words of a better one says less; so many of the best are compared.
REPEATED_SHARE = 0.6
REPEATED_WORTH = 0.5
COMPARED = 60

_AMOUNTS = ("money", "percent", "quantity")
_POINTERS = ("email", "url", "citation")
_NAMED = ("word", "name", "acronym", "person", "organisation", *_POINTERS)
_WRITTEN_LARGE = ("word", "name", "acronym")
# Where a sentence has a name and no amount or date, it has to be understood without the sentences before it.
_NAMING = {"entity": 0.5, "weak definition": 0.5, "topic": 0.9}
_NAMED_TYPES = {"weak definition": "definition", "topic": "entity"}
# Of a name or an address alone nothing is said; without a full stop, it may be a title or an entry of a list.
MIN_SMALL_WORDS, MIN_SMALL_WORDS_UNENDED = 2, 5
_ENDED = re.compile(r"[.!…。！]\W{0,3}$")
# A heading in capitals that stands in the lines of its text, as in manuals: "REPORTING BUGS".
_HEADING_LINE = re.compile(r"[^a-zà-ÿ\n]{4,60}\n\s*(?=\S)")
# The entry of an option, of a sign or of a term that stands elsewhere: "-q, --brief report", "%f the name of", ": the".
_ENTRY = re.compile(r"-{1,2}[A-Za-z?]|[%$:][^\w\n]|[%$][A-Za-z]|\w+ = ")
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")


def find_mentions(passages: Sequence[Passage], language: str, gazetteer: Gazetteer) -> list[Found]:
    """Return every mention of the passages, in order; the same place in two overlapping passages counts once."""
    texts = [passage.text for passage in passages]
    shared, known = shared_signs(texts, language), DocumentWords(texts)
    found = [
        Found(passage, mention)
        for passage in passages
        for mention in without_overlaps(_candidates(passage, language, gazetteer, shared, known))
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


def _candidates(
    passage: Passage, language: str, gazetteer: Gazetteer, shared: frozenset[str], known: DocumentWords
) -> Iterator[Mention]:
    """Yield mentions in order of precedence: the user's names, then what its form makes certain, then the likely."""
    text = passage.text
    yield from gazetteer.find(text)
    yield from references(text)
    readers: tuple[Callable[[str], Iterator[Mention]], ...] = (
        lambda part: dates(part, language),
        lambda part: amounts(part, language, shared),
        lambda part: names(part, language, known),
        lambda part: acronyms(part, known),
    )
    read_text = without_struck(text)
    parts = [(start, read_text[start:end]) for start, end in mention_spans(text, passage.inside)]
    notices = {start for start, part in parts if is_notice(part)} if may_have_notices(text) else set[int]()
    for read in readers:
        for offset, part in parts:
            for mention in read(part):
                # In a notice capitals are for emphasis; who holds the copyright is a person all the same.
                if offset not in notices or mention.type not in _WRITTEN_LARGE:
                    yield replace(mention, start=mention.start + offset, end=mention.end + offset)


def select_facts(
    passages: Sequence[Passage], found: Sequence[Found], phrases: Sequence[KeyPhrase], language: str, limit: int
) -> list[Fact]:
    """Return the *limit* best statements of the passages, the best first; equal ones once."""
    by_passage: dict[str, list[Mention]] = {}
    for one in found:
        by_passage.setdefault(one.passage.id, []).append(one.mention)
    statements: dict[str, Fact] = {}
    torn: dict[str, set[str]] = {}
    for name, side in torn_seams(passages, language_code(language)):
        torn.setdefault(name, set()).add(side)
    subject = _subject(passages, found, phrases, language_code(language))
    for passage in passages:
        if is_boilerplate_section(passage.heading_path):
            continue
        sides = torn.get(passage.id, set[str]())
        for fact in _statements(passage, by_passage.get(passage.id, []), subject, language, sides):
            statements.setdefault(fact.statement.casefold(), fact)
    ranked = _without_repetition(sorted(statements.values(), key=_rank))[:limit]
    best = max((fact.score or 0 for fact in ranked), default=1) or 1
    return sorted((replace(fact, score=round((fact.score or 0) / best, 3)) for fact in ranked), key=_rank)


def _rank(fact: Fact) -> tuple[float, int, int]:
    return -(fact.score or 0), *fact.place


def _subject(
    passages: Sequence[Passage], found: Sequence[Found], phrases: Sequence[KeyPhrase], language: str
) -> Subject:
    names = Counter(one.quote.lower() for one in found if one.mention.type in ("name", "organisation", "person"))
    last = passages[-1] if passages else None
    return Subject(
        phrases={phrase.text.lower(): phrase.score for phrase in phrases},
        names=frozenset(name for name, count in names.most_common(SALIENT_NAMES) if count >= MIN_WORD_REPEATS),
        language=language,
        characters=last.start + len(last.text) if last else 1,
    )


def _without_repetition(ranked: list[Fact]) -> list[Fact]:
    """Return the facts in their order, but those that repeat a better one's words further behind."""
    seen: list[set[str]] = []
    for at, fact in enumerate(ranked[:COMPARED]):
        words = set(fact.statement.casefold().split())
        if any(len(words & other) > REPEATED_SHARE * min(len(words), len(other)) for other in seen):
            ranked[at] = replace(fact, score=(fact.score or 0) * REPEATED_WORTH)
        seen.append(words)
    return sorted(ranked, key=_rank)


def _statements(
    passage: Passage, mentions: Sequence[Mention], subject: Subject, language: str, torn: set[str]
) -> Iterator[Fact]:
    """Yield the rows and sentences that say something; *torn* says on which sides the passage tears a sentence."""
    for row in table_rows(passage.text, passage.table_header, passage.inside):
        if row.is_heading or is_navigation(passage.text[row.start : row.end]):
            continue
        kinds = {mention.type for mention in within(mentions, row.start, row.end)}
        if (statement := str(row)) and any(map(str.isdigit, statement)):
            yield Fact(passage, row.start, row.end, type="row", statement=statement, score=worth_of_row(kinds))
    found = list(pieces(passage.text, passage.inside))
    begin, stop = interrupted(passage.text, [(piece.start, piece.end) for piece in found])
    for at, piece in enumerate(found):
        start, end = piece.start, piece.end
        if heading := _HEADING_LINE.match(passage.text, start, end):
            start = heading.end()
        prose = passage.text[start:end]
        # Finding sentences takes most of the time, so only prose that could have a statement is split.
        if not (any(within(mentions, start, end)) or is_weak_definition(prose) or subject.is_topic_of(prose)):
            continue
        if is_navigation(prose):
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
            fact = _statement(passage, (start + first, start + last), words, inside, subject)
            if fact is not None:
                yield fact


def _statement(
    passage: Passage, place: tuple[int, int], statement: str, mentions: Sequence[Mention], subject: Subject
) -> Fact | None:
    least = MIN_DENSE_CHARACTERS if _DENSE.search(statement) else MIN_STATEMENT_CHARACTERS
    if (
        not least <= len(statement) <= MAX_STATEMENT_CHARACTERS
        or statement[-1] in "?？:"
        or "|" in statement
        or "](" in statement
    ):
        return None
    if sum(map(str.isalpha, statement)) < MIN_LETTERS_SHARE * len(statement.replace(" ", "")):
        return None
    if is_boilerplate(statement) or not (_DENSE.search(statement) or _says_something(statement, mentions)):
        return None
    kinds = {mention.type for mention in mentions}
    kind = _kind(statement, kinds, subject.language)
    if kind is None and _ENDED.search(statement) and subject.is_topic_of(statement):
        kind = "topic"
    if kind is None:
        return None
    stands = standing(statement, subject)
    if kind in _NAMING and (_ENTRY.match(statement) or stands < _NAMING[kind]):
        return None
    kind = _NAMED_TYPES.get(kind, kind)
    score = worth(statement, kinds, passage.start + place[0], subject, stands)
    return Fact(passage=passage, start=place[0], end=place[1], type=kind, statement=statement, score=score)


def _says_something(statement: str, mentions: Sequence[Mention]) -> bool:
    """Return whether there are words around the names: a name with an address is no statement."""
    kinds = {mention.type for mention in mentions}
    small = sum(word[:1].islower() and word.isalpha() for word in statement.split())
    if not kinds <= set(_NAMED):
        return small > 0 or "email" not in kinds
    # "Chair: Ada Keeper" says who is what.
    return ": " in statement or small >= (MIN_SMALL_WORDS if _ENDED.search(statement) else MIN_SMALL_WORDS_UNENDED)


def _kind(statement: str, kinds: set[str], language: str) -> str | None:
    """Return what a sentence is kept for; None when it has no mention, or only pointers to elsewhere."""
    if defined_subject(statement, language):
        return "definition"
    if kinds & set(_AMOUNTS):
        return "quantity"
    if "date" in kinds:
        return "date"
    if is_weak_definition(statement):
        return "weak definition"
    return "entity" if kinds - set(_POINTERS) else None
