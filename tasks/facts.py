"""Stage 4, the fact generator: keywords, entities and facts of a document, each with the quote that supports it.

Owns the stage's options, the choice between its two methods, and the form of its output, `NAME.facts.json`, which
docs/stages.md describes field by field, and the order of facts and entities: the best first. Places count characters of
the chunk's text, and ``chunk_text[start:end] == quote`` always: what fails this check is dropped and counted (metadata
`dropped_unquoted`).

The extractive method works by rules (`tasks.extraction.rules`). With the language model method, a model states facts in
its own words, and the document is data to it, not instruction (`tasks.extraction.language_model`).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import orjson
from pydantic import Field, field_validator

from blocks.errors import InvalidOptions
from tasks.contract import LanguageModelSettings, Read, Services, Stage, StageInput, StageOptions, StageOutput
from tasks.extraction.evidence import Fact, Findings, Found
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.passages import Passage, Passages, read_passages
from tasks.text.key_phrases import MAX_TEXT_CHARACTERS, KeyPhrase, key_phrases
from tasks.text.prose import plain_text, prose_spans
from tasks.text.tables import table_rows

SCHEMA = "waybill.facts/1"

# Names that rules only guess: with a model, the model finds them.
GUESSED_TYPES = ("person", "organisation", "name")
# Statements are ranked by this many key phrases, whatever `max_keywords` says.
RANKING_PHRASES = 20
# 128 bits, as for chunks.
ID_HEX_DIGITS = 32
# Every mention counts in `count` and `chunk_ids`; this many are listed, so that a name on each of a thousand pages does
# not fill the file.
MAX_SHOWN_MENTIONS = 20
# A gazetteer is held in memory by each worker; this many names take about 50 MB.
MAX_GAZETTEER_NAMES = 100_000

# Which entities come first: what a type of entity is worth, times the logarithm of how often it is named. People are
# named seldom and looked for often; a date or an amount says little without its sentence.
ENTITY_WEIGHTS = {
    "person": 3.0,
    "organisation": 2.5,
    "name": 2.0,
    "acronym": 1.2,
    "citation": 0.8,
    "money": 0.8,
    "date": 0.5,
    "email": 0.5,
    "percent": 0.3,
    "quantity": 0.3,
    "url": 0.2,
}
GAZETTEER_WEIGHT = 4.0
NUMBERED_CITATION_WEIGHT = 0.05  # "[3]"

# Signs that Markdown would read as markup are written with a backslash, which belongs to a quote but not to a name.
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")

PlacedT = TypeVar("PlacedT", Fact, Found)


class FactOptions(StageOptions):
    """Options of the fact generator."""

    method: Literal["auto", "extractive", "language-model"] = Field(
        default="auto", description="auto: language-model if a language-model block is configured, else extractive."
    )
    max_facts: int = Field(default=200, ge=1, le=10_000, description="Maximum number of facts; the best are kept.")
    max_entities: int = Field(
        default=5000, ge=1, le=100_000, description="Maximum number of entities; the first are kept."
    )
    max_keywords: int = Field(default=20, ge=0, le=200, description="Maximum number of keywords.")
    gazetteer: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description='Names to look for, by type: {"product": ["Waybill", "Prefect"]}.'
    )
    batch_tokens: int = Field(
        default=3000, ge=256, le=100_000, description="Tokens of passages in one request to the language model."
    )
    structured_output: Literal["tool", "native", "prompted"] = Field(
        default="tool",
        description="How the language model is made to answer in JSON: native or prompted if it refuses tools.",
    )

    @field_validator("gazetteer")
    @classmethod
    def _is_small_enough(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if sum(map(len, value.values())) > MAX_GAZETTEER_NAMES:
            raise ValueError(f"the gazetteer has more than {MAX_GAZETTEER_NAMES} names")
        return value


def run(given: StageInput, options: FactOptions) -> StageOutput:
    """Find the facts. Raises `UnreadableDocument` or `InvalidOptions`, and with a model what `read_with_model` does."""
    model = _model(options, given.services)
    passages = read_passages(given.first("chunker"), given.document.name)
    phrases = key_phrases(_sample(passages.chunks), passages.language[:2], max(options.max_keywords, RANKING_PHRASES))
    findings = _extract(passages, phrases, options) if model is None else _ask(passages, options, model, given)
    found = [one for one in findings.found if _is_quoted(one.passage, one.mention.start, one.mention.end, one.quote)]
    facts = [fact for fact in findings.facts if _is_quoted(fact.passage, fact.start, fact.end, fact.quote)]
    dropped = len(findings.found) - len(found) + len(findings.facts) - len(facts) + findings.dropped_unquoted
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "document": passages.document,
        "method": "extractive" if model is None else "language-model",
        "model": None if model is None else _model_name(model),
        "keywords": [{"text": phrase.text, "score": phrase.score} for phrase in phrases[: options.max_keywords]],
        "entities": _entities(found)[: options.max_entities],
        "facts": [_fact(fact, given.document.sha256) for fact in facts],
    }
    counts = {name: len(content[name]) for name in ("keywords", "entities", "facts")}
    metadata = {"method": content["method"], "model": content["model"], **counts, "dropped_unquoted": dropped}
    return StageOutput(content=orjson.dumps(content), metadata=metadata)


def _model(options: FactOptions, services: Services) -> LanguageModelSettings | None:
    """Return the language model to use, or None for the extractive method. Raises `InvalidOptions`."""
    if options.method == "extractive":
        return None
    if options.method == "language-model" and services.language_model is None:
        raise InvalidOptions(
            "the option method is language-model, but none is configured: save a Prefect block of type language-model "
            "(base_url, model, api_key), or choose the method extractive"
        )
    return services.language_model


def _model_name(model: LanguageModelSettings) -> str:
    return f"{model.model}@{model.base_url}"


def _extract(passages: Passages, phrases: Sequence[KeyPhrase], options: FactOptions) -> Findings:
    # Loading them takes a tenth of a second, and the process of a run never uses them. Workers have them.
    from tasks.extraction.rules import find_mentions, select_facts

    found = find_mentions(passages.chunks, passages.language, Gazetteer(options.gazetteer))
    facts = select_facts(passages.chunks, found, phrases, passages.language, options.max_facts)
    return Findings(found=found, facts=facts)


def _ask(passages: Passages, options: FactOptions, model: LanguageModelSettings, given: StageInput) -> Findings:
    """Return the model's facts and names, and what rules find by its form alone: dates, amounts, references."""
    # Loading it takes two seconds and 90 MB, which only a run with a model needs.
    from tasks.extraction.language_model import read_with_model
    from tasks.extraction.rules import find_mentions

    reading = read_with_model(
        passages.chunks,
        model,
        options.batch_tokens,
        options.structured_output,
        given.note_progress,
        requests_at_once=given.requests_at_once,
    )
    by_rule = find_mentions(passages.chunks, passages.language, Gazetteer(options.gazetteer))
    found = [*reading.found, *(one for one in by_rule if one.mention.type not in GUESSED_TYPES)]
    best = sorted(_once(reading.facts), key=lambda fact: (-(fact.confidence or 0), fact.place))[: options.max_facts]
    return Findings(
        found=sorted(_once(found), key=lambda one: one.place),
        facts=best,
        dropped_unquoted=reading.dropped_unquoted,
    )


def _once(items: Iterable[PlacedT]) -> list[PlacedT]:
    """Return the first item of each place: overlapping passages share words, and models repeat themselves."""
    by_place: dict[object, PlacedT] = {}
    for item in items:
        by_place.setdefault((item.place, getattr(item, "statement", "")), item)
    return list(by_place.values())


def _is_quoted(passage: Passage, start: int, end: int, quote: str) -> bool:
    """Return whether *quote* is in this place of the passage: the last check before anything is written."""
    return 0 <= start < end <= len(passage.text) and passage.text[start:end] == quote and bool(quote.strip())


def _sample(chunks: Sequence[Passage]) -> str:
    """Return the text for key phrases, sampled evenly from the whole document: its prose, else its tables."""
    size = sum(len(chunk.text) for chunk in chunks)
    step = max(1, -(-size // MAX_TEXT_CHARACTERS))
    sampled = chunks[::step]
    prose = [
        plain_text(chunk.text[start:end]) for chunk in sampled for start, end in prose_spans(chunk.text, chunk.inside)
    ]
    rows = (row for chunk in sampled for row in table_rows(chunk.text, chunk.table_header, chunk.inside))
    return "\n".join(prose) or "\n".join("; ".join(value for _, value in row.cells) for row in rows)


def _entities(found: Iterable[Found]) -> list[dict[str, Any]]:
    """Return one entry for each thing that is named, the best first; equal type and value are one thing."""
    groups: dict[tuple[str, str], list[Found]] = {}
    for one in found:
        groups.setdefault((one.mention.type, _identity_of(one)), []).append(one)
    entities = [_entity(kind, group) for (kind, _), group in groups.items()]
    return sorted(entities, key=lambda entity: (-_interest(entity), entity["type"], entity["text"]))


def _interest(entity: Mapping[str, Any]) -> float:
    """Return how much an entity says of what the document is about: names that it repeats say most."""
    kind, text = entity["type"], entity["text"]
    weight = ENTITY_WEIGHTS.get(kind, GAZETTEER_WEIGHT)
    if kind == "acronym" and entity["value"]:
        weight = ENTITY_WEIGHTS["name"]
    if kind == "citation" and text.startswith("["):
        weight = NUMBERED_CITATION_WEIGHT
    return weight * math.log2(1 + entity["count"])


def _identity_of(one: Found) -> str:
    if one.mention.type == "acronym":
        return one.quote.removesuffix("s").casefold()  # "URL" and "URLs"
    return one.mention.value or " ".join(one.quote.casefold().split())


def _entity(kind: str, group: Sequence[Found]) -> dict[str, Any]:
    spellings = Counter(_ESCAPE.sub(r"\1", " ".join(one.quote.split())) for one in group)
    values = [one.mention.value for one in group if one.mention.value]
    return {
        "text": max(spellings, key=lambda spelling: (spellings[spelling], spelling)),
        "type": kind,
        "value": values[0] if values else None,
        "count": len(group),
        "chunk_ids": list(dict.fromkeys(one.passage.id for one in group)),
        "mentions": [
            {"chunk_id": one.passage.id, "start": one.mention.start, "end": one.mention.end, "quote": one.quote}
            for one in group[:MAX_SHOWN_MENTIONS]
        ],
    }


def _fact(fact: Fact, document_sha256: str) -> dict[str, Any]:
    identity = f"{document_sha256}\n{fact.passage.id}\n{fact.start}\n{fact.end}\n{fact.statement}"
    return {
        "id": hashlib.sha256(identity.encode()).hexdigest()[:ID_HEX_DIGITS],
        "statement": fact.statement,
        "type": fact.type,
        "chunk_id": fact.passage.id,
        "quote": fact.quote,
        "start": fact.start,
        "end": fact.end,
        "score": fact.score,
        "confidence": fact.confidence,
    }


def _identity(options: FactOptions, services: Services) -> Mapping[str, str]:
    model = _model(options, services)
    if model is None:
        return {"method": "extractive"}
    return {"method": "language-model", "model": _model_name(model)}


def _asks_model(options: FactOptions, services: Services) -> bool:
    return options.method != "extractive" and services.language_model is not None


def _needs_home(options: FactOptions, services: Services | None) -> bool:
    return options.method == "language-model" or (services is not None and _asks_model(options, services))


FACTS: Stage[FactOptions] = Stage(
    number=4,
    name="fact-generator",
    version="4",
    suffix=".facts.json",
    media_type="application/json",
    reads=(Read(any_of=("chunker",)),),
    options=FactOptions,
    run=run,
    identity=_identity,
    needs_home=_needs_home,
    asks_model=_asks_model,
)
