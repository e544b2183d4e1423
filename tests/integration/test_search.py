"""Hybrid search on real Postgres: what is found, in which order, and what odd queries do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from blocks.catalog.skipped_records import skipped_counts
from blocks.errors import CatalogUnavailable, InvalidOptions, InvalidSettings
from blocks.postgres import single_connection
from blocks.search_index import (
    CLOSE_MARGIN,
    Entity,
    Fact,
    IndexedDocument,
    Keyword,
    SearchAnswer,
    SearchHit,
    has_documents,
    remove_document,
    search,
    statistics,
)
from blocks.search_index.document import EMBEDDING_DIMENSIONS
from blocks.search_index.read import MAX_HITS
from tests.integration.indexed import WHOLE, direction, document, embedded, put
from tests.integration.table_poison import INDEX
from waybill.services.search import Connect, search_documents


async def find(url: str, text: str, vector: Sequence[float] | None = None, limit: int = 10) -> list[SearchHit]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        answer = await search(connection, text, vector=vector, limit=limit, show_all=True)
        return answer.hits


async def ask(url: str, text: str, vector: Sequence[float]) -> SearchAnswer:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return await search(connection, text, vector=vector)


async def titles(url: str, text: str) -> list[str]:
    return [hit.title for hit in await find(url, text)]


# What a hit tells -----------------------------------------------------------------------------------------------------


async def test_a_hit_says_where_it_was_found(database_url: str) -> None:
    put(
        database_url,
        document("Nothing of note.", "The harbour fee is 40 euros.", title="Fees", headings=("Port", "Charges")),
    )
    (hit,) = await find(database_url, "harbour")
    assert (hit.title, hit.source, hit.heading_path) == ("Fees", "fees.pdf", ["Port", "Charges"])
    assert (hit.ordinal, hit.chunk_id, hit.start, hit.end) == (1, "c1", 1000, 1028)
    assert hit.text == "The harbour fee is 40 euros."
    assert hit.found_by == ["words"]
    assert hit.similarity is None
    assert 0 < hit.score < 1


async def test_a_hit_of_the_vector_tells_its_similarity(database_url: str) -> None:
    put(database_url, document(("cranes and quays", direction(1, 1)), title="Port"))
    (hit,) = await find(database_url, "loading", direction(1, 0).tolist())
    assert hit.found_by == ["vector"]
    assert hit.similarity == pytest.approx(0.7071, abs=1e-3)


async def test_an_empty_index_gives_no_hits(database_url: str) -> None:
    assert await find(database_url, "anything", direction(1).tolist()) == []


async def test_an_index_without_vectors_is_searched_by_words(database_url: str) -> None:
    put(database_url, document("a bill of lading", title="Bill"))
    hits = await find(database_url, "lading", direction(1).tolist())
    assert [hit.found_by for hit in hits] == [["words"]]


async def test_a_vector_of_zeros_is_not_a_neighbour_of_anything(database_url: str) -> None:
    put(database_url, document(("silent", np.zeros(EMBEDDING_DIMENSIONS, np.float32)), title="Zero"))
    assert await find(database_url, "loud", direction(1).tolist()) == []


async def test_equal_scores_come_in_the_same_order_every_time(database_url: str) -> None:
    put(database_url, document(*["the same words"] * 30, title="Echo"))
    first = await find(database_url, "same words", limit=20)
    assert [hit.ordinal for hit in first] == list(range(20))
    assert await find(database_url, "same words", limit=20) == first


# Languages ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(database_url: str) -> str:
    """A small library in several languages; each document differs from the others in its subject."""
    put(
        database_url,
        document(
            "Die Häuser am Fluss gehören Frau Jürgensen. Der Mietvertrag wurde gekündigt.",
            "Größe und Gewicht der Ladung stehen im Frachtbrief.",
            title="Mietvertrag",
            language="de",
        ),
        document(
            "Les navires étaient chargés à Besançon. L'école reçoit des élèves.",
            "La facture de Mme Jürgensen reste impayée.",
            title="Navires",
            language="fr",
        ),
        document(
            "The ships were running late. Their cargoes had been inspected by Mr O'Neill.",
            "Contact claims@harbour.example or see https://harbour.example/claims/late_delivery.html for refunds.",
            title="Delays",
            language="en",
        ),
        document("El señor Muñoz pagó las facturas en Málaga.", title="Facturas", language="es"),
        document("Корабли прибыли в порт. Груз проверен.", title="Корабли", language="ru"),
        document("東京都の港に船が着いた。", title="東京", language="ja"),
        document("Statek przypłynął do Łodzi.", title="Statek", language="pl"),
    )
    return database_url


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Haus", "Mietvertrag"),
        ("Mietverträge", "Mietvertrag"),
        ("groesse", "Mietvertrag"),
        ("GRÖSSE", "Mietvertrag"),
        ("Grosse", "Mietvertrag"),
        ("navire chargé", "Navires"),
        ("eleve", "Navires"),
        ("ecole", "Navires"),
        ("Besancon", "Navires"),
        ("ship cargo", "Delays"),
        ("inspecting", "Delays"),
        ("O'Neill", "Delays"),
        ("Munoz", "Facturas"),
        ("factura", "Facturas"),
        ("корабль", "Корабли"),
        ("東京", "東京"),
        ("の港に", "東京"),
        ("Lodzi", "Statek"),
    ],
)
async def test_words_are_found_in_their_language(library: str, query: str, expected: str) -> None:
    assert (await titles(library, query))[0] == expected


@pytest.mark.parametrize("query", ["Jürgensen", "Jurgensen", "Juergensen", "jürgensen", "JÜRGENSEN"])
async def test_a_name_is_found_in_every_spelling_and_language(library: str, query: str) -> None:
    assert set(await titles(library, query)) == {"Mietvertrag", "Navires"}


@pytest.mark.parametrize(
    "query",
    [
        "Which invoice of Mrs Jürgensen has not been paid?",
        "Welche Rechnung von Frau Jürgensen wurde nicht bezahlt?",
        "¿Qué factura de la señora Jürgensen no está pagada?",
    ],
)
async def test_a_question_in_another_language_finds_the_name(library: str, query: str) -> None:
    assert {"Mietvertrag", "Navires"} <= set(await titles(library, query))


@pytest.mark.parametrize("query", ["claims harbour", "late delivery", "claims@harbour.example", "late_delivery.html"])
async def test_parts_of_addresses_are_words(library: str, query: str) -> None:
    assert (await find(library, query))[0].ordinal == 1


async def test_a_question_whose_words_do_not_all_occur_still_finds_the_passage(library: str) -> None:
    hits = await find(library, "Who is the inspector that looked at the cargoes of the ships on Monday?")
    assert hits[0].title == "Delays"


async def test_a_passage_with_all_words_comes_before_one_with_many_of_some(database_url: str) -> None:
    put(
        database_url,
        document("penalty penalty penalty penalty", title="Some"),
        document("a penalty falls due on late delivery of the goods", title="All"),
    )
    assert await titles(database_url, "penalty late delivery") == ["All", "Some"]


async def test_the_word_as_typed_comes_before_its_inflections(database_url: str) -> None:
    put(
        database_url,
        document("he runs the port office daily", title="Stem"),
        document("running the port office daily", title="Exact"),
    )
    assert await titles(database_url, "running") == ["Exact", "Stem"]


async def test_title_and_headings_count_as_words_of_their_passages(database_url: str) -> None:
    put(
        database_url,
        document("Revenue was 4 million.", title="Quarterly report", headings=("Shipping",)),
        document("Revenue was 3 million.", title="Memo"),
    )
    assert (await titles(database_url, "shipping revenue"))[0] == "Quarterly report"
    assert (await titles(database_url, "quarterly revenue"))[0] == "Quarterly report"


@pytest.mark.parametrize("query", ["quarterly-report-2024.pdf", "quarterly report", "quartely report"])
async def test_a_document_is_found_by_its_file_name_also_with_a_typing_error(database_url: str, query: str) -> None:
    put(
        database_url,
        document("Alpha.", "Beta.", title="Q4", source="scans/quarterly-report-2024.pdf"),
        document("Gamma.", title="Other", source="scans/minutes.pdf"),
    )
    hits = await find(database_url, query)
    assert [(hit.title, hit.ordinal, hit.found_by) for hit in hits] == [("Q4", 0, ["name"])]


# Fusion ---------------------------------------------------------------------------------------------------------------


def reciprocal_ranks(url_hits: list[list[SearchHit]], wanted: list[str]) -> float:
    ranks = [[hit.title for hit in hits].index(title) + 1 for hits, title in zip(url_hits, wanted, strict=True)]
    return sum(1 / rank for rank in ranks) / len(ranks)


async def test_hybrid_beats_words_alone_and_vectors_alone(database_url: str) -> None:
    """Four questions: words fail on synonyms, vectors on part numbers, and each lists something else before."""
    put(
        database_url,
        document(("The vessel berthed at dawn.", direction(1, 0, 0.1)), title="Arrival"),
        document(("Boat paint comes in blue; the boat shines.", direction(0.2, 0, 1)), title="Paint"),
        document(("Part AX-7741 is a bilge pump.", direction(0, 1, 0.3)), title="Pump 7741"),
        document(("Part AX-7742 is a bilge pump.", direction(0, 1, 0.2)), title="Pump 7742"),
        document(("Part AX-7743 is a bilge pump.", direction(0, 1, 0.1)), title="Pump 7743"),
    )
    questions = [
        ("when did the boat come in at dawn", direction(1, 0, 0.2), "Arrival"),
        ("AX-7741", direction(0, 1, 0), "Pump 7741"),
        ("pump AX-7742", direction(0, 1, 0), "Pump 7742"),
        ("vessel arrival", direction(1, 0, 0.3), "Arrival"),
    ]
    wanted = [title for _, _, title in questions]
    hybrid = [await find(database_url, text, vector.tolist()) for text, vector, _ in questions]
    vectors_only = [await find(database_url, "zzz", vector.tolist()) for _, vector, _ in questions]
    words_only = [await find(database_url, text) for text, _, _ in questions]
    assert reciprocal_ranks(hybrid, wanted) == 1.0
    assert reciprocal_ranks(vectors_only, wanted) < 1.0
    assert words_only[0][0].title != "Arrival"


async def test_a_passage_scores_its_similarity_and_the_rare_words_that_it_shares(database_url: str) -> None:
    put(
        database_url,
        document(("anchor chain", direction(1, 0)), title="Both"),
        document(("anchor", direction(0, 1)), title="Far"),
        document(("chapel", direction(-1, 0)), title="Opposite"),
    )
    question = direction(1, 0.1)
    hits = await find(database_url, "anchor chain", question.tolist())
    assert [(hit.title, sorted(hit.found_by)) for hit in hits] == [
        ("Both", ["vector", "words"]),
        ("Far", ["vector", "words"]),
        ("Opposite", ["vector"]),
    ]
    alone = await find(database_url, "zzz", question.tolist())
    gained = {hit.title: hit.score - other.score for hit, other in zip(hits, alone, strict=True)}
    assert [hit.similarity for hit in alone] == [hit.similarity for hit in hits]
    assert gained["Both"] > gained["Far"] > gained["Opposite"] == 0


async def test_a_rare_word_counts_more_than_a_common_one(database_url: str) -> None:
    put(
        database_url,
        *(document(f"the valve of pump number {number}", title=f"Pump {number}") for number in range(20)),
        document("the gasket", title="Gasket"),
    )
    assert (await titles(database_url, "valve gasket"))[0] == "Gasket"


@pytest.mark.parametrize("query", ["installed", "installazione", "Installatoin"])
async def test_a_word_that_begins_like_the_query_is_found(database_url: str, query: str) -> None:
    put(
        database_url,
        document("Die Installation dauert einen Tag.", title="Aufbau", language="de"),
        document("Das Instrument ist gestimmt.", title="Klang", language="de"),
    )
    assert await titles(database_url, query) == ["Aufbau"]


async def test_every_passage_of_a_document_gains_by_its_title_also_with_a_typing_error(database_url: str) -> None:
    put(
        database_url,
        document(("pressure in bar", direction(1, 0.4)), ("colour", direction(0, 1)), title="Boiler Vesta manual"),
        document(("pressure in bar", direction(1, 0.3)), title="Other"),
    )
    hits = await find(database_url, "Boiler Vseta manual", direction(1, 0.3).tolist())
    assert (hits[0].title, hits[0].ordinal, "name" in hits[0].found_by) == ("Boiler Vesta manual", 0, True)


# Headings -------------------------------------------------------------------------------------------------------------


async def test_a_passage_of_headings_alone_comes_behind_what_it_is_the_title_of(database_url: str) -> None:
    put(
        database_url,
        document(
            ("# Inspection of the viaduct\n\nFinal report", direction(1, 0)),
            ("The viaduct was inspected from a platform on two days.", direction(1, 0.6)),
            title="Inspection of the viaduct",
        ),
        document(("A bridge elsewhere was painted in spring and autumn.", direction(1, 2)), title="Paint"),
    )
    hits = await find(database_url, "When was the inspection of the viaduct?", direction(1, 0).tolist())
    assert [(hit.title, hit.ordinal) for hit in hits] == [
        ("Inspection of the viaduct", 1),
        ("Paint", 0),
        ("Inspection of the viaduct", 0),
    ]


async def test_a_document_that_is_a_heading_alone_is_found_like_any_other(database_url: str) -> None:
    put(
        database_url,
        document(("# Call the harbour master", direction(1, 0)), title="Note"),
        document(("Ships are painted.", direction(1, 1)), title="Paint"),
    )
    assert [hit.title for hit in await find(database_url, "harbour", direction(1, 0).tolist())] == ["Note", "Paint"]


async def test_a_name_leads_to_the_first_passage_that_says_something(database_url: str) -> None:
    put(database_url, document("# Bylaws", "Members pay in spring.", title="Q4", source="scans/garden-statutes.pdf"))
    hits = await find(database_url, "gardn-statutes")
    assert [(hit.ordinal, hit.found_by) for hit in hits] == [(1, ["name"])]


# Whether anything is close --------------------------------------------------------------------------------------------


def around(similarity: float, number: int) -> IndexedDocument:
    """Return a document of *number* passages that are all this similar to `direction(1)`, and little to each other."""
    rng = np.random.default_rng(5)
    passages: list[tuple[str, np.ndarray | None]] = []
    for place in range(number):
        other = rng.standard_normal(EMBEDDING_DIMENSIONS).astype(np.float32)
        other[0] = 0
        other *= np.sqrt(1 - similarity**2) / np.linalg.norm(other)
        other[0] = similarity
        passages.append((f"filler {place}", other))
    return document(*passages, title="Around")


async def test_what_is_close_depends_on_how_similar_everything_else_is(database_url: str) -> None:
    """In one language all texts are similar: the same cosine stands out from few of them, or from none."""
    near = document(("cranes and quays", direction(1, 1)), title="Port")  # 0.71
    put(database_url, around(0.2, 60), near)
    answer = await ask(database_url, "loading", direction(1).tolist())
    assert (answer.nothing_close, answer.hits[0].title) == (False, "Port")
    assert answer.threshold == pytest.approx(0.2 + CLOSE_MARGIN, abs=0.02)
    put(database_url, replace(around(0.6, 60), head=replace(near.head, sha256="1" * 64)))
    answer = await ask(database_url, "loading", direction(1).tolist())
    assert (answer.nothing_close, answer.hits) == (True, [])
    assert answer.threshold == pytest.approx(0.6 + CLOSE_MARGIN, abs=0.02)


async def test_a_rare_word_in_common_makes_a_passage_close(database_url: str) -> None:
    put(database_url, around(0.6, 60), document(("gantry cranes and quays", direction(1, 1)), title="Port"))
    assert (await ask(database_url, "loading by machine", direction(1).tolist())).nothing_close
    assert not (await ask(database_url, "loading by gantry", direction(1).tolist())).nothing_close


async def test_among_few_passages_a_fixed_similarity_decides(database_url: str) -> None:
    put(database_url, document(("cranes and quays", direction(1, 1)), ("paint", direction(1, 3)), title="Port"))
    assert not (await ask(database_url, "loading", direction(1).tolist())).nothing_close  # 0.71
    assert (await ask(database_url, "loading", direction(-1, 0).tolist())).nothing_close


async def test_more_neighbours_than_the_default_depth_of_the_vector_index_are_found(database_url: str) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((300, EMBEDDING_DIMENSIONS)).astype(np.float32)
    put(database_url, document(*[("x", vector) for vector in vectors], title="Many"))
    with psycopg.connect(database_url) as connection:
        connection.execute("analyze indexed_chunks")
    hits = await find(database_url, "nothing", vectors[0].tolist(), limit=MAX_HITS)
    assert len(hits) == MAX_HITS
    assert hits[0].ordinal == 0


# Query syntax ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def phrases(database_url: str) -> str:
    put(
        database_url,
        document(("red apple pie", direction(1, 0.1)), title="Phrase"),
        document(("apple of red colour, and a pie", direction(1, 0.2)), title="Scattered"),
        document(("green pear", direction(1, 0)), title="Pear"),
    )
    return database_url


async def test_a_quoted_phrase_must_occur(phrases: str) -> None:
    hits = await find(phrases, '"red apple"', direction(1).tolist())
    assert [hit.title for hit in hits] == ["Phrase"]


async def test_an_excluded_word_must_not_occur_in_any_ranking(phrases: str) -> None:
    hits = await find(phrases, "pie -colour", direction(1).tolist())
    assert [hit.title for hit in hits] == ["Phrase"]


async def test_or_offers_a_choice(phrases: str) -> None:
    assert set(await titles(phrases, '"red apple" or pear')) == {"Phrase", "Pear"}


async def test_exclusions_alone_find_nothing(phrases: str) -> None:
    assert await find(phrases, "-apple", direction(1).tolist()) == []


@pytest.mark.parametrize(
    "query",
    [
        'apple "',
        '"""apple',
        "apple & | ! ( ) <-> :* :A",
        "apple' or '1'='1",
        "apple'; drop table indexed_chunks; --",
        "apple \\' \\\\",
        "apple %s %(text)s %% $1 {}",
        "apple\x00\ud800",
        "((((((((apple",
        "or or or apple",
        "apple" + " pie" * 4_000,
        "apple " + "x" * 10_000,
        "apple " + "é漢" * 3_000,
        "!!!apple???",
        "-- -apple- apple",
        "apple " + "-" * 80 + " pie",
        "apple " + "- " * 80 + "pie",
    ],
    ids=lambda query: query[:20].encode("ascii", "backslashreplace").decode(),
)
async def test_odd_queries_are_only_text(phrases: str, query: str) -> None:
    hits = await find(phrases, query)
    assert all(isinstance(hit, SearchHit) for hit in hits)
    assert len(await find(phrases, "apple")) == 2


@pytest.mark.parametrize("query", ["", "   ", "\n\t", "?!", '"" - & |', "🚢", "\x00", "…"])
async def test_a_query_without_words_is_refused(phrases: str, query: str) -> None:
    with pytest.raises(InvalidOptions, match="no word"):
        await find(phrases, query)


async def test_an_endless_query_is_refused(phrases: str) -> None:
    with pytest.raises(InvalidOptions, match="at most"):
        await find(phrases, "apple " * 10_000)


@pytest.mark.parametrize("limit", [0, -1, MAX_HITS + 1])
async def test_a_limit_out_of_range_is_refused(phrases: str, limit: int) -> None:
    with pytest.raises(InvalidOptions, match="hits"):
        await find(phrases, "apple", limit=limit)


async def test_a_vector_of_another_model_is_refused(phrases: str) -> None:
    with pytest.raises(InvalidOptions, match="dimensions"):
        await find(phrases, "apple", [1.0, 0.0])


async def test_stop_words_alone_are_searched_as_words(database_url: str) -> None:
    put(database_url, document("to be or not to be", title="Hamlet"), document("something else", title="Other"))
    assert await titles(database_url, "to be or not to be") == ["Hamlet"]


# Around the search ----------------------------------------------------------------------------------------------------


async def test_a_removed_document_is_found_no_more(database_url: str) -> None:
    item = document("a lonely word", title="Gone")
    put(database_url, item)
    with psycopg.connect(database_url) as connection:
        assert remove_document(connection, item.head.sha256)
        assert not remove_document(connection, item.head.sha256)
    assert await find(database_url, "lonely") == []


async def test_the_index_knows_a_document_by_content_and_ingestion(database_url: str) -> None:
    item = document("text", title="Known")
    put(database_url, item)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        known = (item.head.sha256, WHOLE)
        others = [(item.head.sha256, "1" * 64), ("1" * 64, WHOLE)]
        assert await has_documents(connection, [*others, known]) == {known}
        assert await has_documents(connection, others) == set()


async def test_odd_rows_hide_no_passage_from_a_search(database_url: str, tmp_path: Path) -> None:
    lists = {
        "facts": [Fact(fact_id="f", type="t", statement="s", quote="lantern")],
        "entities": [Entity(text="Lantern", type="t", count=1)],
        "keywords": [Keyword(text="lantern")],
    }
    victims = {
        poison: document(("lanterns", direction(1)), title=f"Odd {n}") for n, poison in enumerate(INDEX.values())
    }
    healthy = document(("shining lanterns", direction(1)), title="Healthy")
    put(database_url, healthy, *(replace(one, **lists) for one in victims.values()))
    with psycopg.connect(database_url) as connection:
        for poison, victim in victims.items():
            found = connection.execute(
                "select document_id from indexed_documents where sha256 = %s", [victim.head.sha256]
            )
            connection.execute(poison.encode(), {"victim": found.fetchone()[0]})  # type: ignore[index]
    for vector in (direction(1), None):
        hits = await find(database_url, "lantern", vector, limit=MAX_HITS)
        assert len(hits) == len(victims) + 1
        assert "Healthy" in {hit.title for hit in hits}
        assert all(isinstance(part, str) for hit in hits for part in hit.heading_path)
    async with await psycopg.AsyncConnection.connect(database_url, row_factory=dict_row) as connection:
        assert (await skipped_counts(connection))["document"] == sum(".stemmer" in name for name in INDEX)
        await statistics(connection)
    # Each is written again as it should be, or removed.
    put(database_url, *(replace(one, **lists) for one in victims.values()))
    assert len(await find(database_url, "lantern", limit=MAX_HITS)) >= len(victims) + 1
    with psycopg.connect(database_url) as connection:
        assert all(remove_document(connection, one.head.sha256) for one in victims.values())


async def test_statistics_count_what_is_there(database_url: str) -> None:
    put(database_url, document(("one", direction(1)), "two", title="Counted"))
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        counted = await statistics(connection)
    assert replace(counted, size_bytes=0) == type(counted)(
        documents=1, chunks=2, vectors=1, facts=0, entities=0, keywords=0, size_bytes=0
    )
    assert counted.size_bytes > 0


def at(database_url: str) -> Connect:
    return partial(single_connection, database_url)


# With the embedding model ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


async def test_a_question_finds_the_answer_that_shares_no_word_with_it(database_url: str, models: Path) -> None:
    put(
        database_url,
        embedded(
            models,
            "The vessel was damaged by fire in the engine room.",
            "Crew wages are due on the last day of each month.",
            "Bananas must be kept at thirteen degrees.",
            title="Report",
        ),
    )
    hits = (await search_documents(at(database_url), "When do sailors receive their salary?", 3, models=models)).hits
    assert hits[0].text.startswith("Crew wages")
    assert "vector" in hits[0].found_by
    hits = (await search_documents(at(database_url), "fruit -wages", 3, models=models)).hits
    assert all("wages" not in hit.text for hit in hits)


async def test_an_index_without_vectors_needs_no_model(database_url: str, tmp_path: Path) -> None:
    put(database_url, document("a bill of lading", title="Bill"))
    hits = (await search_documents(at(database_url), "lading", models=tmp_path / "none")).hits
    assert [hit.title for hit in hits] == ["Bill"]
    assert not (tmp_path / "none").exists()


async def test_a_refused_search_connects_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions, match="no word"):
        await search_documents(at("postgresql://nobody@/none?host=/nowhere"), "???", models=tmp_path)


async def test_a_server_that_is_down_is_a_passing_condition(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnavailable):
        await search_documents(at("postgresql://nobody@/none?host=/nowhere"), "text", models=tmp_path)


async def test_a_database_that_was_never_migrated_is_told(empty_database_url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="migrated"):
        await search_documents(at(empty_database_url), "text", models=tmp_path)
