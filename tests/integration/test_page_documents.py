"""Documents, files and search on the page: hostile names and text are text, and downloads are attachments."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from html import unescape
from pathlib import Path
from uuid import UUID

import httpx
import psycopg
import pytest

from blocks.access import Actor
from blocks.catalog import Artifact, StageMark
from blocks.search_index import Chunk, DocumentHead, Entity, Fact, IndexedDocument, Keyword, replace_document
from tests.gateway import Gateway, running_gateway
from tests.gateway.browsing import BROWSER, browsing, shown_text
from tests.stack_driver import PATIENCE_SECONDS
from waybill.services.files import delete_file, hold_file

HOSTILE = "\"><script>alert(1)</script>\u202etxt.'<b onmouseover=alert(1)>"
MARKDOWN = f"# Title\n\n[go](javascript:alert(1)) {HOSTILE}\n\n![x](http://evil.example/p.png)\n"
SHA256 = "ab" * 32
TESTER = Actor(actor="cli:a test")


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


def indexed(number: int = 0, **more: str) -> IndexedDocument:
    """A document whose every text is hostile."""
    text = f"The pump number {number} was replaced on 3 May 2026. {HOSTILE} It works."
    chunk = Chunk(chunk_id="c0", text=text, start=0, end=len(text), tokens=12, heading_path=(HOSTILE,), embedding=None)
    head = DocumentHead(
        sha256=f"{number:064x}" if number else SHA256,
        source=f"{HOSTILE}.pdf",
        media_type="application/pdf",
        stage_key="0" * 64,
        language="en",
        summary=HOSTILE,
        **{"title": HOSTILE, **more},
    )
    return IndexedDocument(
        head=head,
        chunks=[chunk],
        facts=[Fact(fact_id="f1", type="date", statement=HOSTILE, quote=HOSTILE, score=0.9)],
        entities=[Entity(text=HOSTILE, type=HOSTILE, count=2)],
        keywords=[Keyword(text=HOSTILE, score=1.0)],
    )


def put(gateway: Gateway, *documents: IndexedDocument) -> None:
    with psycopg.connect(gateway.database_url) as connection:
        for item in documents:
            replace_document(connection, item)


async def markdown_file(gateway: Gateway, content: str = MARKDOWN, stage: int = 2) -> Artifact:
    return await gateway.put(
        content.encode(), name=f"{HOSTILE}.md", source_file=f"{HOSTILE}.pdf", document_sha256=SHA256,
        kind="stage_output", media_type="text/markdown", stage=StageMark(number=stage, name="optimizer", key="1" * 64),
        report={"warnings": [f"left out: {HOSTILE}"]},
    )  # fmt: skip


def check_harmless(page: httpx.Response) -> None:
    """No markup of a document may be in *page*: its scripts and pictures are the page's own."""
    assert page.status_code == 200, page.text
    assert "<script>" not in page.text and "<b onmouseover" not in page.text and "evil.example" not in page.text
    assert 'href="javascript' not in page.text.lower()
    for source in re.findall(r'src="([^"]*)"', page.text):
        assert source.startswith("/static/")
    assert HOSTILE.partition("\u202e")[0] in unescape(page.text)


async def test_hostile_text_is_text_everywhere(gateway: Gateway) -> None:
    put(gateway, indexed())
    await markdown_file(gateway)
    async with browsing(gateway) as browser:
        check_harmless(await browser.open("/documents"))
        page = await browser.open(f"/documents/{SHA256}")
        check_harmless(page)
        text = shown_text(page)
        for part in ("Best facts", "PDF document", "English", "1 passage", "1 warning", "Names, dates and amounts"):
            assert part in text, part
        check_harmless(await browser.open("/search?q=pump"))
        assert (await browser.open("/search")).status_code == 200
        odd = await browser.client.get("/search", params={"q": HOSTILE, "source": HOSTILE}, headers=BROWSER)
        assert odd.status_code == 200 and "<script>" not in odd.text


async def test_a_search_marks_words_and_the_sentence_and_says_when_nothing_is_close(gateway: Gateway) -> None:
    put(gateway, indexed())
    async with browsing(gateway) as browser:
        found = await browser.open("/search?q=when+was+the+pump+replaced")
        assert "<mark>pump</mark>" in found.text and "<mark>replaced</mark>" in found.text
        assert re.search(r'<span class="sentence">(<mark>)?The', found.text)
        nothing = await browser.open("/search?q=cheapest+electric+car")
        assert "Nothing close to this question is indexed" in nothing.text and 'class="hits"' not in nothing.text
        for query in ("%00", "...", "?" * 10, "x" * 30_000):
            answer = await browser.client.get("/search", params={"q": query}, headers=BROWSER)
            assert answer.status_code in {200, 422, 414}, query
        only = await browser.open("/search?q=pump&language=de")
        assert 'class="hits"' not in only.text


async def test_downloads_are_attachments_that_no_browser_runs(gateway: Gateway) -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
    artifact = await gateway.put(svg, name=f"{HOSTILE}.svg", media_type="image/svg+xml\r\nX-Evil: 1")
    async with browsing(gateway) as browser:
        got = await browser.open(f"/files/{artifact.file_id}")
        assert got.content == svg
        headers = got.headers
        assert headers["content-disposition"].startswith('attachment; filename="') and "x-evil" not in headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "private, no-store"
        assert headers["content-security-policy"] == "default-src 'none'; sandbox"
        part = await browser.open(f"/files/{artifact.file_id}", Range="bytes=0-3")
        assert (part.status_code, part.content) == (206, b"<svg")
        head = await browser.client.head(f"/files/{artifact.file_id}", headers=BROWSER)
        assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(svg)), b"")
        (*_, entry) = await gateway.audited("download")
        assert entry["file_id"] == artifact.file_id and entry["actor"].startswith("key:")
        assert (await browser.open(f"/files/{UUID(int=1)}")).status_code == 404
        await delete_file(gateway.custody, artifact.file_id, by=TESTER)
        gone = await browser.open(f"/files/{artifact.file_id}")
        assert gone.status_code == 410 and "This has gone" in gone.text
    async with browsing(gateway, signed_in=False) as browser:
        assert (await browser.open(f"/files/{artifact.file_id}")).status_code == 303


async def test_a_link_is_shared_by_keys_that_may_and_opens_the_file_without_one(gateway: Gateway) -> None:
    artifact = await markdown_file(gateway)
    path = f"/files/{artifact.file_id}/share"
    async with browsing(gateway) as browser:
        shared = await browser.send(path, {"lifetime": "1h"})
        assert shared.status_code == 200 and shared.headers["cache-control"] == "private, no-store"
        (link,) = re.findall(r'id="link" value="([^"]+)"', shared.text)
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as another:
            assert (await another.get(unescape(link))).content == MARKDOWN.encode()
        assert len(await gateway.audited("share")) == 1
        assert (await browser.send(path, {"lifetime": "900d"})).status_code == 422
        assert (await browser.open(path)).status_code == 405
        assert (await browser.send(path, form_token="")).status_code == 403
    async with browsing(gateway, "read") as reader, browsing(gateway, "write") as writer:
        page = await reader.open(f"/documents/{SHA256}")
        assert "/share" not in page.text and "/pin" not in page.text and f"/files/{artifact.file_id}" in page.text
        assert (await reader.send(path)).status_code == 403
        assert (await writer.send(path)).status_code == 403
        assert (await writer.open(f"/files/{artifact.file_id}")).status_code == 403
        assert (await reader.send(f"/files/{artifact.file_id}/pin")).status_code == 403


async def test_pins_are_set_and_lifted_and_a_hold_is_shown(gateway: Gateway) -> None:
    artifact = await markdown_file(gateway)
    async with browsing(gateway) as browser:
        answer = await browser.send(f"/files/{artifact.file_id}/pin")
        assert answer.headers["location"] == f"/documents/{SHA256}"
        page = await browser.open(f"/documents/{SHA256}")
        assert "stays: pinned" in page.text and f"/files/{artifact.file_id}/unpin" in page.text
        await browser.send(f"/files/{artifact.file_id}/unpin")
        assert "stays: pinned" not in (await browser.open(f"/documents/{SHA256}")).text
        await hold_file(gateway.custody, artifact.file_id, note=None, by=TESTER)
        assert "stays: legal hold" in (await browser.open(f"/documents/{SHA256}")).text


async def test_documents_are_paged_and_filtered(gateway: Gateway) -> None:
    put(gateway, *(indexed(number, title=f"Report {number}") for number in range(1, 56)))
    async with browsing(gateway) as browser:
        seen: list[str] = []
        path: str | None = "/documents"
        while path is not None:
            page = await browser.open(path)
            seen += re.findall(r'href="/documents/([0-9a-f]{64})"', page.text)
            following = re.search(r'href="(/documents\?[^"]*after=[^"]+)"', page.text)
            path = unescape(following[1]) if following else None
        assert len(seen) == len(set(seen)) == 55
        assert "No document fits" in (await browser.open("/documents?language=fr")).text
        assert (await browser.open("/documents?after=nonsense")).status_code == 422


async def test_a_document_without_an_index_row_or_without_files(gateway: Gateway) -> None:
    artifact = await markdown_file(gateway, stage=1)
    async with browsing(gateway) as browser:
        page = await browser.open(f"/documents/{SHA256}")
        assert page.status_code == 200 and "stage 5 has not run" in page.text and "Title</h3>" in page.text
        gateway.stored(artifact).write_bytes(b"damaged")
        damaged = await browser.open(f"/documents/{SHA256}")
        assert damaged.status_code == 200 and "cannot be read now" in damaged.text
        for unknown in ("0" * 64, "ab" * 31, "AB" * 32, "../etc"):
            assert (await browser.open(f"/documents/{unknown}")).status_code == 404, unknown
    put(gateway, indexed(7))
    async with browsing(gateway) as browser:
        page = await browser.open(f"/documents/{7:064x}")
        assert page.status_code == 200 and "Its files have gone" in page.text


async def test_many_visitors_at_once(gateway: Gateway) -> None:
    put(gateway, indexed())
    await markdown_file(gateway, "# A\n" + "[" * 50_000)
    async with browsing(gateway) as browser:
        pages = await asyncio.gather(*(browser.open(f"/documents/{SHA256}") for _ in range(10)))
        assert {page.status_code for page in pages} == {200}


async def test_links_end_with_their_file(gateway: Gateway) -> None:
    artifact = await gateway.put(b"x", keep_for=timedelta(minutes=10))
    async with browsing(gateway) as browser:
        shared = await browser.send(f"/files/{artifact.file_id}/share", {"lifetime": "30d"})
        assert "when the file itself goes" in shown_text(shared)
