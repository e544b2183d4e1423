"""The fact generator, extractive way: what is kept, what it rests on, and the output that later stages read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.errors import UnreadableDocument
from tasks import chunk
from tasks.chunk import ChunkOptions
from tasks.contract import DocumentInfo, Services, StageInput, StageOutput
from tasks.facts import FACTS, MAX_SHOWN_MENTIONS, FactOptions, run

DOCUMENT = DocumentInfo(name="r.md", sha256="d" * 64, size_bytes=1, media_type="text/markdown", source="r.md")
MARKDOWN = """---
title: Annual report
language: en
---
# The railway

The Orvane Railway Company was founded on 4 May 1931 and carried **468,500 people** in 2024.
A railcar is a self-propelled vehicle that carries passengers. Is that so? This is short.

- Dr. Odile Brac became director in 2019, see https://railway.example/board.
- The new workshop cost $3.5 million, 12 % less than planned.

The World Health Organization (WHO) was not involved. The weather was fine and everybody enjoyed the trip.

```
cost = 99 kg of code at Acme Inc.
```

| Year | Length |
|------|--------|
| 2023 | 12 km  |
"""


def make(folder: Path, markdown: str, overlap: int = 0, **options: Any) -> tuple[StageOutput, dict[str, str]]:
    """The stage's output on the chunks of *markdown*, and the chunks' texts by id."""
    source, chunks = folder / "in.md", folder / "chunks.json"
    source.write_bytes(markdown.encode())
    services = Services(home=folder)
    given_markdown = StageInput(document=DOCUMENT, files={"markdown-conversion": source}, services=services)
    made = chunk.run(given_markdown, ChunkOptions(embeddings=False, overlap_tokens=overlap))
    chunks.write_bytes(made.content)
    output = run(StageInput(document=DOCUMENT, files={"chunker": chunks}, services=services), FactOptions(**options))
    return output, {one["id"]: one["text"] for one in json.loads(made.content)["chunks"]}


def facts_of(folder: Path, markdown: str, **options: Any) -> dict[str, Any]:
    return json.loads(make(folder, markdown, **options)[0].content)


def assert_quoted(found: dict[str, Any], texts: dict[str, str]) -> None:
    for fact in found["facts"]:
        assert texts[fact["chunk_id"]][fact["start"] : fact["end"]] == fact["quote"] != ""
    for entity in found["entities"]:
        assert entity["count"] >= len(entity["mentions"]) >= 1
        for mention in entity["mentions"]:
            assert texts[mention["chunk_id"]][mention["start"] : mention["end"]] == mention["quote"] != ""
            assert mention["chunk_id"] in entity["chunk_ids"]


def test_the_output_has_the_documented_form(tmp_path: Path) -> None:
    output, texts = make(tmp_path, MARKDOWN)
    found = json.loads(output.content)
    assert found["schema"] == "waybill.facts/1"
    assert (found["method"], found["model"]) == ("extractive", None)
    assert found["document"]["title"] == "Annual report" and found["document"]["sha256"] == "d" * 64
    assert set(found["keywords"][0]) == {"text", "score"}
    assert_quoted(found, texts)
    assert len({fact["id"] for fact in found["facts"]}) == len(found["facts"])
    assert output.metadata == {
        "method": "extractive",
        "model": None,
        "keywords": len(found["keywords"]),
        "entities": len(found["entities"]),
        "facts": len(found["facts"]),
        "dropped_unquoted": 0,
    }


def test_sentences_are_kept_for_what_they_hold(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, MARKDOWN)["facts"]
    assert [(fact["type"], fact["statement"][:22]) for fact in facts] == [
        ("quantity", "The Orvane Railway Com"),
        ("definition", "A railcar is a self-pr"),
        ("date", "Dr. Odile Brac became "),
        ("quantity", "The new workshop cost "),
        ("entity", "The World Health Organ"),
        ("row", "Year: 2023; Length: 12"),
    ]
    assert facts[0]["statement"].endswith("carried 468,500 people in 2024.")
    assert "**468,500 people**" in facts[0]["quote"]
    assert max(fact["score"] for fact in facts) == 1 and all(fact["confidence"] is None for fact in facts)


def test_rows_of_a_table_are_kept_with_their_columns_also_where_a_passage_begins_in_the_middle(tmp_path: Path) -> None:
    rows = "".join(f"| Car {number} | {number * 3} t |  |\n" for number in range(90))
    output, texts = make(tmp_path, f"# Cars\n\n| Name | Weight | Note |\n|---|---|---|\n{rows}")
    found = json.loads(output.content)
    assert_quoted(found, texts)
    # In the order of their scores.
    assert sorted(fact["statement"] for fact in found["facts"]) == sorted(
        f"Name: Car {number}; Weight: {number * 3} t" for number in range(90)
    )
    assert {fact["type"] for fact in found["facts"]} == {"row"} and len(texts) > 2
    assert found["keywords"]


def test_entities_have_a_type_a_value_and_a_count(tmp_path: Path) -> None:
    entities = {entity["text"]: entity for entity in facts_of(tmp_path, MARKDOWN)["entities"]}
    expected = {
        "Orvane Railway Company": ("organisation", None),
        "4 May 1931": ("date", "1931-05-04"),
        "Odile Brac": ("person", None),
        "468,500 people": ("quantity", "468500 people"),
        "$3.5 million": ("money", "3500000 USD"),
        "12 %": ("percent", "12 %"),
        "WHO": ("acronym", "World Health Organization"),
        "https://railway.example/board": ("url", None),
        "12 km": ("quantity", "12 km"),
        "99 kg": None,
        "Acme Inc": None,
    }
    for text, wanted in expected.items():
        found = entities.get(text)
        assert (found and (found["type"], found["value"])) == wanted, text


def test_the_best_statements_are_kept_and_told_in_the_documents_order(tmp_path: Path) -> None:
    everything = facts_of(tmp_path, MARKDOWN)["facts"]
    best = facts_of(tmp_path, MARKDOWN, max_facts=2)["facts"]
    assert [fact["statement"] for fact in best] == [
        fact["statement"] for fact in everything if fact["score"] >= sorted(f["score"] for f in everything)[-2]
    ]


def test_a_word_with_a_capital_is_a_name_when_it_comes_back(tmp_path: Path) -> None:
    text = "We went to Brenaz by train.\n\nThen we left Brenaz for Tannwald."
    names = {entity["text"]: entity["count"] for entity in facts_of(tmp_path, text)["entities"]}
    assert names == {"Brenaz": 2}


def test_the_same_thing_is_one_entity_however_it_is_written(tmp_path: Path) -> None:
    text = "On 4 May 1931 it opened.\n\nSince 1931-05-04 it runs, and May 4, 1931 was a Monday."
    (entity,) = facts_of(tmp_path, text)["entities"]
    assert (entity["value"], entity["count"]) == ("1931-05-04", 3)
    assert {mention["quote"] for mention in entity["mentions"]} == {"4 May 1931", "1931-05-04", "May 4, 1931"}


def test_many_mentions_are_counted_and_some_are_shown(tmp_path: Path) -> None:
    (entity,) = facts_of(tmp_path, "It costs 5 kg of it.\n\n" * 50)["entities"]
    assert entity["count"] == 50 and len(entity["mentions"]) == MAX_SHOWN_MENTIONS


def test_the_entities_that_are_named_most_are_kept(tmp_path: Path) -> None:
    entities = facts_of(tmp_path, "It is 5 kg, or 6 kg, or 5 kg, or 7 kg.", max_entities=1)["entities"]
    assert [entity["text"] for entity in entities] == ["5 kg"]


def test_overlapping_passages_count_once(tmp_path: Path) -> None:
    text = " ".join(f"The car number {number} weighs {number} tonnes in all." for number in range(200))
    plain, overlapping = (json.loads(make(tmp_path, text, overlap=overlap)[0].content) for overlap in (0, 40))
    assert sum(entity["count"] for entity in overlapping["entities"]) == 200
    assert len(overlapping["facts"]) == len(plain["facts"]) == 200


def test_the_users_own_names_come_first(tmp_path: Path) -> None:
    names = {"vehicle": ["railcar"], "place": ["Orvane"]}
    found = facts_of(tmp_path, MARKDOWN, gazetteer=names)["entities"]
    assert [(entity["text"], entity["type"], entity["value"]) for entity in found if entity["type"] in names] == [
        ("Orvane", "place", "Orvane"),
        ("railcar", "vehicle", "railcar"),
    ]


@pytest.mark.parametrize(
    ("language", "text", "value"),
    [
        ("de", "Die Strecke wurde am 3. März 1931 eröffnet und kostete 1,5 Millionen Franken.", "1931-03-03"),
        ("fr", "La ligne a été ouverte le 3 mars 1931 et mesure 12,5 km en tout.", "1931-03-03"),
        ("es", "La línea se abrió el 3 de marzo de 1931 y mide 12,5 km en total.", "1931-03-03"),
        ("ru", "Линия была открыта 3 марта 1931 года и стоила 5 млн рублей.", "1931-03-03"),
        ("zh", "该线路于1931年3月3日开通，全长12km。", "1931-03-03"),
        ("ja", "この路線は1931年3月3日に開通し、費用は300円でした。", "1931-03-03"),
        ("xx", "Ligne 3 March 1931, 12.5 km and some more words.", "1931-03-03"),
    ],
)
def test_dates_and_amounts_make_facts_in_several_languages(
    tmp_path: Path, language: str, text: str, value: str
) -> None:
    found = facts_of(tmp_path, f"---\nlanguage: {language}\n---\n{text}")
    types = {entity["type"] for entity in found["entities"]}
    assert value in {entity["value"] for entity in found["entities"]} and types & {"money", "quantity"}
    assert [fact["quote"] for fact in found["facts"]] == [text]


@pytest.mark.parametrize("language", ["ar", "hi", "th", "he", "ko", "el", "fa", "\x00", "a" * 300, "en_US"])
def test_no_language_makes_it_fail(tmp_path: Path, language: str) -> None:
    text = "مرحبا بالعالم. नमस्ते दुनिया। สวัสดีชาวโลก. שלום עולם. 안녕하세요 세계. Γειά σου Κόσμε."
    facts_of(tmp_path, f"---\nlanguage: '{language}'\n---\n{text} On 4 May 1931 it cost $5.")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(
        st.one_of(
            st.text(max_size=60),
            st.sampled_from(
                [
                    *("On 4 May 1931 it cost $5. ", "\n\n", "- item 12 kg\n", "Dr. Jane Doe is a person. ", "> 3 %\n"),
                    *(
                        "**Bold** Aa Bb. ",
                        "`code` ",
                        "İ 5 kg ",
                        "| a | 5 kg |\n|---|---|\n",
                        "\r\n",
                        "WHO said. ",
                        "😀",
                    ),
                ]
            ),
        ),
        min_size=1,
        max_size=12,
    ).map(lambda parts: "x" + "".join(parts)),
    st.sampled_from([0, 20]),
)
def test_everything_that_is_said_is_quoted_exactly(tmp_path: Path, markdown: str, overlap: int) -> None:
    output, texts = make(tmp_path, markdown, overlap=overlap)
    assert_quoted(json.loads(output.content), texts)
    assert output.metadata["dropped_unquoted"] == 0


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    assert make(tmp_path, MARKDOWN)[0].content == make(tmp_path, MARKDOWN)[0].content


def test_embeddings_in_the_input_are_passed_over_and_a_text_that_looks_like_one_is_not(tmp_path: Path) -> None:
    text = 'It weighs 5 kg,"embedding":[1,2] and so on.'
    chunk_of = {"id": "a", "ordinal": 0, "start": 0, "text": text, "tokens": 9, "embedding": [0.1, -2e-5]}
    path = tmp_path / "chunks.json"
    path.write_bytes(orjson.dumps({"document": {}, "chunks": [chunk_of]}))
    output = run(
        StageInput(document=DOCUMENT, files={"chunker": path}, services=Services(home=tmp_path)), FactOptions()
    )
    assert [fact["quote"] for fact in json.loads(output.content)["facts"]] == [text]


MALFORMED = [b"", b"{", b"[]", b'{"chunks": []}', b'{"document": {}, "chunks": [{}]}', b"\xff\xfe", b"null"]
MALFORMED += [b'{"document": {}, "chunks": [{"id": 1, "ordinal": "x", "start": 0, "text": "secret", "tokens": 1}]}']
MALFORMED += [b"[" * 100_000]


@pytest.mark.parametrize("content", MALFORMED, ids=range(len(MALFORMED)))
def test_chunks_that_are_none_are_our_error_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chunks.json"
    path.write_bytes(content)
    given_input = StageInput(document=DOCUMENT, files={"chunker": path}, services=Services(home=tmp_path))
    with pytest.raises(UnreadableDocument, match=r"r\.md") as caught:
        run(given_input, FactOptions())
    assert "secret" not in str(caught.value)


def test_options_are_checked() -> None:
    for options in ({"max_facts": 0}, {"method": "magic"}, {"gazetteer": {"x": ["y"] * 100_001}}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            FactOptions(**options)  # pyright: ignore[reportArgumentType]
    assert (FACTS.number, FACTS.name, FACTS.suffix) == (4, "fact-generator", ".facts.json")
