"""Search and the documents of the index over HTTP: what is found, in which documents, and what bad input does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from blocks.search_index import Entity, Fact, IndexedDocument, Keyword
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.indexed import document, embedded, put
from tests.integration.table_poison import INDEX

NOBODY = "f" * 64


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home", requests_per_minute=1_000_000) as running:
        yield running


@pytest.fixture
async def headers(gateway: Gateway) -> dict[str, str]:
    return await gateway.headers("read")


@pytest.fixture
def library(database_url: str) -> dict[str, IndexedDocument]:
    """Documents of several languages and types, found by words alone."""
    german = document(
        "Einleitung.", "Die Häuser am Fluss gehören Frau Jürgensen. Der Mietvertrag wurde gekündigt.",
        title="Mietvertrag", language="de-CH", source="akten/mietvertrag.pdf",
    )  # fmt: skip
    english = document("The houses at the river were sold.", title="Sale", source="https://x.example/sale.html")
    chinese = document("船在港口停泊。货物已经检查完毕。", title="港口", language="zh", source="port.txt")
    found = {
        "german": replace(german, head=replace(german.head, media_type="pdf")),
        "english": replace(english, head=replace(english.head, media_type="text/html")),
        "chinese": replace(chinese, head=replace(chinese.head, media_type="text/plain")),
    }
    put(database_url, *found.values())
    return found


async def get(gateway: Gateway, headers: dict[str, str], path: str, **parameters: Any) -> dict[str, Any]:
    answer = await gateway.client.get(f"/api/v1{path}", params=parameters, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def cut(hit: dict[str, Any], place: list[int]) -> str:
    return hit["text"][place[0] : place[1]]


# Search ---------------------------------------------------------------------------------------------------------------


async def test_a_question_is_answered_by_a_sentence_that_shares_no_word_with_it(
    gateway: Gateway, headers: dict[str, str]
) -> None:
    passage = (
        "# Crew\n\nThe vessel was damaged by fire in the engine room. Wages are due on the last day of each month. "
        "Everyone on board has a cabin of their own."
    )
    put(
        gateway.database_url,
        embedded(
            gateway.resources.settings.models, passage, "Bananas must be kept at thirteen degrees.", title="Rules"
        ),
    )
    found = await get(gateway, headers, "/search", q="When do sailors receive their salary?", k=1)
    (hit,) = found["results"]
    assert cut(hit, hit["sentence"]) == "Wages are due on the last day of each month."
    assert found["threshold"] < hit["similarity"] <= 1
    assert (found["count"], found["nothing_close"], hit["marks"]) == (1, False, [])


async def test_nothing_close_is_said_and_not_filled_up(gateway: Gateway, headers: dict[str, str]) -> None:
    put(
        gateway.database_url,
        embedded(gateway.resources.settings.models, "Bananas must be kept at thirteen degrees.", title="Rules"),
    )
    question = "Who won the chess championship in Iceland?"
    found = await get(gateway, headers, "/search", q=question)
    assert (found["nothing_close"], found["count"], found["results"]) == (True, 0, [])
    found = await get(gateway, headers, "/search", q=question, all=True)
    assert (found["nothing_close"], found["count"]) == (True, 1)
    assert found["results"][0]["similarity"] < found["threshold"]
    # Every word of the question in one passage is evidence, however far its vector is.
    assert (await get(gateway, headers, "/search", q="thirteen"))["count"] == 1


async def test_inflected_words_are_marked(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument]
) -> None:
    (hit,) = (await get(gateway, headers, "/search", q="Haus Fluß", language="de"))["results"]
    assert [cut(hit, mark) for mark in hit["marks"]] == ["Häuser", "Fluss"]
    assert cut(hit, hit["sentence"]) == "Die Häuser am Fluss gehören Frau Jürgensen."
    assert hit["sha256"] == library["german"].head.sha256
    assert (hit["language"], hit["media_type"], hit["ordinal"]) == ("de-CH", "application/pdf", 1)


async def test_a_sentence_of_a_script_without_spaces_is_marked(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument]
) -> None:
    (hit,) = (await get(gateway, headers, "/search", q="货物检查"))["results"]
    assert cut(hit, hit["sentence"]) == "货物已经检查完毕。"
    assert [cut(hit, mark) for mark in hit["marks"]] == ["货物", "检查"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ("german", "english")),
        ({"source": "akten/mietvertrag.pdf"}, ("german",)),
        ({"source": "mietvertrag.pdf"}, ("german",)),
        ({"source": "sale.html"}, ("english",)),
        ({"source": "mietvertrag"}, ()),
        ({"type": "pdf"}, ("german",)),
        ({"type": "application/pdf"}, ("german",)),
        ({"type": "HTML"}, ("english",)),
        ({"type": "htm"}, ("english",)),
        ({"type": "text/html"}, ("english",)),
        ({"type": "docx"}, ()),
        ({"language": "de"}, ("german",)),
        ({"language": "DE-ch"}, ("german",)),
        ({"language": "de-AT"}, ()),
        ({"language": "d"}, ()),
        ({"language": "en", "type": "pdf"}, ()),
        ({"since": "1h"}, ("german", "english")),
        ({"until": "1h"}, ()),
        ({"since": "2001-01-01", "until": "2001-12-31"}, ()),
        ({"since": "2001-01-01T00:00Z"}, ("german", "english")),
        ({"run_id": "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"}, ()),
    ],
    ids=str,
)
async def test_filters_choose_documents(
    gateway: Gateway,
    headers: dict[str, str],
    library: dict[str, IndexedDocument],
    filters: dict[str, str],
    expected: tuple[str, ...],
) -> None:
    found = await get(gateway, headers, "/search", q="Häuser or houses", **filters)
    wanted = {library[name].head.sha256 for name in expected}
    assert {hit["sha256"] for hit in found["results"]} == wanted
    assert found["nothing_close"] == (not expected)
    listed = await get(gateway, headers, "/documents", **filters)
    assert {entry["sha256"] for entry in listed["documents"]} - {library["chinese"].head.sha256} == wanted


async def test_the_day_of_until_is_included(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument]
) -> None:
    long_ago = datetime(2003, 5, 17, 23, 30, tzinfo=UTC)
    sha256 = library["english"].head.sha256
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update indexed_documents set ingested_at = %s where sha256 = %s", [long_ago, sha256])
    for filters, expected in (
        ({"since": "2003-05-17", "until": "2003-05-17"}, 1),
        ({"until": "2003-05-16"}, 0),
        ({"until": "2003-05-17T23:30Z"}, 0),
        ({"until": "2003-05-18T02:00+02:00"}, 1),
        ({"since": "2003-05-18", "until": "2003-06-01"}, 0),
    ):
        assert (await get(gateway, headers, "/search", q="houses", **filters))["count"] == expected, filters


async def test_a_run_and_a_name_select_the_documents_that_they_had(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument]
) -> None:
    """Also one that another run had put into the index under another name."""
    run, sha256 = uuid4(), library["english"].head.sha256
    upload = await gateway.put(b"x", name="copy of sale.html", document_sha256=sha256)
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute(
            "insert into run_outputs (run_id, file_id, source_file, reused) values (%s, %s, 'copy of sale.html', true)",
            [run, upload.file_id],
        )
    for filters in ({"run_id": str(run)}, {"source": "copy of sale.html"}):
        found = await get(gateway, headers, "/search", q="Häuser or houses", **filters)
        assert [hit["sha256"] for hit in found["results"]] == [sha256]
        listed = await get(gateway, headers, "/documents", **filters)
        assert [entry["sha256"] for entry in listed["documents"]] == [sha256]


async def test_a_filter_finds_what_is_far_from_the_question(gateway: Gateway, headers: dict[str, str]) -> None:
    """The vector index returns the nearest passages: those of other documents must not use up its places."""
    models = gateway.resources.settings.models
    texts = [f"Ship number {number} arrives in the harbour on day {number}." for number in range(150)]
    put(gateway.database_url, embedded(models, *texts, title="Arrivals"))
    other = embedded(models, "Bananas must be kept at thirteen degrees.", title="Rules")
    put(gateway.database_url, replace(other, head=replace(other.head, source="rules.md")))
    found = await get(gateway, headers, "/search", q="when do ships arrive in port", source="rules.md", all=True)
    assert [hit["title"] for hit in found["results"]] == ["Rules"]


@pytest.mark.parametrize(
    "question",
    [
        "the of and", "to be or not to be", '"the"', "-houses", "houses & | ! ( ) <-> :* :A", "houses'); drop table x;",
        "houses %s %(q)s {} $1", "((((((((", "or or or houses", "houses \ud83d\udea2 🚢", "ἡ οἰκία", "घरों के पास नदी",
        "บ้านริมแม่น้ำ", "집은 강가에 있다",
        "بيوت على النهر", "дома у реки", "川辺の家", "\u202ehouses\u202c", "houses " + "x" * 9_000,
        "house " * 1_600, "é漢" * 900,
    ],
    ids=lambda text: text[:16].encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
async def test_odd_questions_are_only_text(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument], question: str
) -> None:
    question = question.encode("utf-8", "replace").decode()
    answer = await gateway.client.get("/api/v1/search", params={"q": question, "all": True}, headers=headers)
    if answer.status_code == 422:
        assert "no word" in answer.json()["error"]["message"]
        assert not any(map(str.isalnum, question))
        return
    assert answer.status_code == 200, answer.text
    for hit in answer.json()["results"]:
        start, end = hit["sentence"]
        assert 0 <= start <= end <= len(hit["text"])
        ends = [0, *(place for mark in hit["marks"] for place in mark), len(hit["text"])]
        assert ends == sorted(ends)


@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"q": ""}, {"q": "?!"}, {"q": "🚢"}, {"q": "a\x00b"}, {"q": "x", "k": 0},
        {"q": "x", "k": 101},
        {"q": "x", "k": "many"}, {"q": "x", "all": "perhaps"}, {"q": "x", "source": ""}, {"q": "x", "source": "a\x00"},
        {"q": "x", "source": " "}, {"q": "x", "type": ""}, {"q": "x", "language": "!!"}, {"q": "x", "run_id": "7"},
        {"q": "x", "since": "yesterday"}, {"q": "x", "since": "2026-11-01T10:00"}, {"q": "x", "until": "9999-12-31"},
        {"q": "x", "since": "9999999d"}, {"q": "x", "langauge": "de"}, {"q": "x", "limit": 3},
    ],
    ids=str,
)  # fmt: skip
async def test_bad_input_is_refused(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument], parameters: dict[str, Any]
) -> None:
    answer = await gateway.client.get("/api/v1/search", params=parameters, headers=headers)
    assert answer.status_code == 422, answer.text
    error_of(answer)


async def test_a_question_that_no_url_can_hold_is_refused(gateway: Gateway, headers: dict[str, str]) -> None:
    answer = await gateway.client.get("/api/v1/search", params={"q": "house " * 4_000}, headers=headers)
    assert answer.status_code == 414


async def test_other_requests_are_answered_while_many_search(gateway: Gateway, headers: dict[str, str]) -> None:
    put(
        gateway.database_url,
        embedded(gateway.resources.settings.models, *(f"Passage {number}." for number in range(20)), title="Many"),
    )
    searches = [asyncio.create_task(get(gateway, headers, "/search", q=f"passage {n}")) for n in range(12)]
    await get(gateway, headers, "/documents")
    for found in await asyncio.gather(*searches):
        assert found["count"] == 10


# Documents ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def book(database_url: str) -> IndexedDocument:
    """A document with several pages of everything."""
    made = document(*(f"Passage {number}." for number in range(25)), title="Book", headings=("Part", "Chapter"))
    made = replace(
        made,
        facts=[
            Fact(
                fact_id=f"f{n}", type="quantity", statement=f"s{n}", quote=f"q{n}", score=score, chunk=n, start=0, end=2
            )
            for n, score in enumerate([0.2, None, 0.9, 0.2, 0.9, float("nan"), 0.5])
        ],
        entities=[Entity(text=f"e{n}", type="name", count=count, chunks=[n]) for n, count in enumerate([1, 7, 7, 2])],
        keywords=[Keyword(text=f"k{n}", score=score) for n, score in enumerate([0.1, 0.3, 0.2])],
    )
    put(database_url, made)
    return made


async def pages(gateway: Gateway, headers: dict[str, str], path: str, name: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = await get(gateway, headers, path, limit=limit, **after)
        assert len(page[name]) <= limit
        found += page[name]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


async def test_documents_are_listed_newest_first_by_pages(gateway: Gateway, headers: dict[str, str]) -> None:
    items = [document(f"text {number}", title=f"Number {number}") for number in range(5)]
    for item in items:
        put(gateway.database_url, item)
    found = await pages(gateway, headers, "/documents", "documents", 2)
    assert [entry["title"] for entry in found] == [f"Number {number}" for number in (4, 3, 2, 1, 0)]
    assert (await get(gateway, headers, "/documents", limit=5))["next"] is None


async def test_a_document_is_shown_with_what_the_index_holds_of_it(
    gateway: Gateway, headers: dict[str, str], book: IndexedDocument
) -> None:
    sha256 = book.head.sha256
    shown = await get(gateway, headers, f"/documents/{sha256}")
    assert (shown["title"], shown["chunks"], shown["facts"], shown["entities"], shown["keywords"]) == (
        "Book",
        25,
        7,
        4,
        3,
    )
    assert datetime.now(UTC) - datetime.fromisoformat(shown["ingested_at"]) < timedelta(hours=1)
    assert await get(gateway, headers, f"/documents/{sha256.upper()}") == shown


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_the_lists_of_a_document_come_by_pages_best_first(
    gateway: Gateway, headers: dict[str, str], book: IndexedDocument, limit: int
) -> None:
    base = f"/documents/{book.head.sha256}"
    chunks = await pages(gateway, headers, f"{base}/chunks", "chunks", limit)
    assert [chunk["ordinal"] for chunk in chunks] == list(range(25))
    assert (chunks[3]["text"], chunks[3]["heading_path"], chunks[3]["start"]) == (
        "Passage 3.",
        ["Part", "Chapter"],
        3000,
    )
    facts = await pages(gateway, headers, f"{base}/facts", "facts", limit)
    assert [fact["fact_id"] for fact in facts] == ["f2", "f4", "f6", "f0", "f3", "f1", "f5"]
    assert (facts[6]["score"], facts[0]["score"], facts[0]["chunk"], facts[0]["quote"]) == (None, 0.9, 2, "q2")
    entities = await pages(gateway, headers, f"{base}/entities", "entities", limit)
    assert [(entity["text"], entity["chunks"]) for entity in entities] == [
        ("e1", [1]),
        ("e2", [2]),
        ("e3", [3]),
        ("e0", [0]),
    ]
    keywords = await pages(gateway, headers, f"{base}/keywords", "keywords", limit)
    assert [keyword["text"] for keyword in keywords] == ["k1", "k2", "k0"]


@pytest.mark.parametrize("path", ["", "/chunks", "/facts", "/entities", "/keywords"])
async def test_a_document_that_is_not_there(gateway: Gateway, headers: dict[str, str], path: str) -> None:
    answer = await gateway.client.get(f"/api/v1/documents/{NOBODY}{path}", headers=headers)
    assert (answer.status_code, error_of(answer)) == (404, "DocumentNotFound")
    answer = await gateway.client.get(f"/api/v1/documents/report.pdf{path}", headers=headers)
    assert answer.status_code == 422


@pytest.mark.parametrize("cursor", ["x", "bm9uc2Vuc2U=", "MSAyIDM=", "bmFuIDk5OTk5OTk5OTk5OQ==", "8J-aog==", "\x00"])
@pytest.mark.parametrize("path", ["", "/chunks", "/facts"])
async def test_a_cursor_that_was_never_given_is_refused(
    gateway: Gateway, headers: dict[str, str], book: IndexedDocument, path: str, cursor: str
) -> None:
    whole = f"/api/v1/documents/{book.head.sha256}{path}" if path else "/api/v1/documents"
    answer = await gateway.client.get(whole, params={"after": cursor}, headers=headers)
    assert answer.status_code == 422
    error_of(answer)


@pytest.mark.parametrize(
    "path", ["/search?q=houses", "/documents", "/documents/{sha256}", "/documents/{sha256}/chunks"]
)
async def test_head_is_answered_like_get(
    gateway: Gateway, headers: dict[str, str], library: dict[str, IndexedDocument], path: str
) -> None:
    url = "/api/v1" + path.replace("{sha256}", library["english"].head.sha256)
    get_answer, head = await gateway.client.get(url, headers=headers), await gateway.client.head(url, headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get_answer.headers["content-length"] == str(len(get_answer.content))


async def test_a_key_without_read_learns_nothing(gateway: Gateway, library: dict[str, IndexedDocument]) -> None:
    writer = await gateway.headers("write")
    for path in ("/search?q=houses", "/documents", f"/documents/{library['english'].head.sha256}/chunks"):
        answer = await gateway.client.get(f"/api/v1{path}", headers=writer)
        assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")


async def test_odd_rows_hide_no_document(gateway: Gateway, headers: dict[str, str]) -> None:
    """What a person with SQL, or another version, may have written is shown as far as JSON can hold it."""
    victims = {
        poison: replace(
            document("lanterns", title=f"Odd {number}"),
            facts=[Fact(fact_id="f", type="t", statement="s", quote="lantern")],
            entities=[Entity(text="Lantern", type="t", count=1)],
            keywords=[Keyword(text="lantern")],
        )
        for number, poison in enumerate(INDEX.values())
    }
    put(gateway.database_url, *victims.values(), document("shining lanterns", title="Healthy"))
    async with gateway.custody.catalog.connection() as connection:
        for poison, victim in victims.items():
            found = await connection.execute(
                "select document_id from indexed_documents where sha256 = %s", [victim.head.sha256]
            )
            await connection.execute(poison, {"victim": (await found.fetchone())["document_id"]})  # type: ignore
    listed = await pages(gateway, headers, "/documents", "documents", 7)
    assert len(listed) == len({entry["sha256"] for entry in listed}) == len(victims) + 1
    known = {victim.head.sha256 for victim in victims.values()} & {entry["sha256"] for entry in listed}
    assert len(known) == len(victims) - 1  # of one the sha256 itself was written over
    for entry in (one for one in listed if one["sha256"] in known):
        for name in ("chunks", "facts", "entities", "keywords"):
            await pages(gateway, headers, f"/documents/{entry['sha256']}/{name}", name, 1)
    assert (await get(gateway, headers, "/search", q="lantern", k=100))["count"] >= len(victims)
