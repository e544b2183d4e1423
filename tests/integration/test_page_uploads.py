"""Files of one form become one run; what is refused, and where a run cannot be started."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID

import pytest
from prefect import get_client

from flows.process import process_documents
from tests.gateway import Gateway, running_gateway
from tests.gateway.browsing import BROWSER, browsing, shown_text
from waybill.services.run_documents import documents_of_run

NOTE = b"# A note\n\nThe pump was replaced on 3 May 2026.\n"
HOSTILE = '"><img src=x onerror=alert(1)>.md'


@pytest.fixture(scope="module")
async def deployment(prefect_server: str) -> UUID:
    """The deployment, registered and served by no process: its runs wait."""
    del prefect_server
    return UUID(str(await (await process_documents.ato_deployment(name="waybill")).apply()))


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, prefect_server: str, deployment: UUID) -> AsyncGenerator[Gateway]:
    del deployment
    async with running_gateway(database_url, tmp_path / "home", prefect_api=prefect_server, max_file_mib=1) as running:
        yield running


async def files(gateway: Gateway) -> int:
    async with gateway.custody.catalog.connection() as connection:
        return len((await gateway.custody.catalog.list_artifacts(connection)).artifacts)


async def test_three_files_of_one_form_become_one_run(gateway: Gateway) -> None:
    async with browsing(gateway) as browser:
        names = ["a.md", HOSTILE, "übersicht.md"]
        answer = await browser.upload(*((name, NOTE + name.encode()) for name in names), stages="1-3", keep_for="90d")
        assert answer.status_code == 303, answer.text
        run_id = UUID(answer.headers["location"].removeprefix("/runs/"))
        async with get_client() as client:
            run = await client.read_flow_run(run_id)
        assert run.parameters["stages"] == [1, 2, 3] and run.parameters["keep_for"] == "90d"
        assert len(run.parameters["sources"]) == 3 and run.name == "a.md and 2 more"
        entries = await gateway.audited("ingest")
        assert [entry["run_id"] for entry in entries] == [run_id] * 3
        shown = await browser.open(f"/runs/{run_id}")
        assert shown.status_code == 200 and "hx-get" in shown.text and "It waits to begin" in shown.text
        part = await browser.open(f"/runs/{run_id}/progress", HX_Request="true")
        assert part.text.startswith('<div id="progress"') and "<html" not in part.text
        listed = await browser.open("/runs?state=scheduled")
        assert f"/runs/{run_id}" in listed.text
        assert (await browser.send(f"/runs/{run_id}/cancel")).status_code == 303
        assert "Cancelled" in (await browser.open(f"/runs/{run_id}")).text
        assert (await browser.send(f"/runs/{run_id}/cancel")).status_code in {303, 409}


async def test_what_is_refused_costs_only_itself(gateway: Gateway) -> None:
    async with browsing(gateway) as browser:
        bad = [(HOSTILE, b""), ("large.md", b"x" * (2**20 + 1)), ("odd.gz", b"\x1f\x8b\x08" + bytes(50))]
        answer = await browser.upload(*bad, ("good.md", NOTE))
        text = shown_text(answer)
        assert answer.status_code == 200 and "1 file will be processed" in text and "3 files were refused" in text
        assert "<img src=x" not in answer.text and "at most 1048576 bytes" in text
        assert await files(gateway) == 1
        none = await browser.upload(*bad)
        assert none.status_code == 422 and "No file was taken" in none.text
        assert await files(gateway) == 1


async def test_a_form_that_is_not_right_keeps_nothing(gateway: Gateway) -> None:
    async with browsing(gateway) as browser:
        for fields, words in (
            ({"stages": "9"}, "stage"),
            ({"keep_for": "soon"}, "length of time"),
            ({"webhook_url": "http://127.0.0.1/"}, "network"),
        ):
            refused = await browser.upload(("a.md", NOTE), **fields)
            assert refused.status_code == 422 and words in shown_text(refused), shown_text(refused)
        # What comes after a file counts too.
        parts = [("form_token", (None, browser.form_token)), ("files", ("a.md", NOTE)), ("stages", (None, "9"))]
        late = await browser.client.post("/upload", files=parts, headers=BROWSER)
        assert late.status_code == 422
        assert (await browser.upload()).status_code == 422
        # As browsers send a form in which no file was chosen.
        part = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        body = part % (b"form_token", b"", browser.form_token.encode()) + part % (b"files", b'; filename=""', b"")
        headers = {**BROWSER, "Content-Type": "multipart/form-data; boundary=b"}
        nameless = await browser.client.post("/upload", content=body + b"--b--\r\n", headers=headers)
        assert nameless.status_code == 422 and "No file was chosen" in shown_text(nameless)
        assert await files(gateway) == 0


async def test_a_form_without_its_token_is_refused_before_a_file_is_stored(gateway: Gateway) -> None:
    async with browsing(gateway) as browser, browsing(gateway) as other:
        token = browser.form_token
        for parts in (
            [("files", ("a.md", NOTE)), ("form_token", (None, token))],
            [("form_token", (None, other.form_token)), ("files", ("a.md", NOTE))],
            [("files", ("a.md", NOTE))],
        ):
            refused = await browser.client.post("/upload", files=parts, headers=BROWSER)
            assert refused.status_code == 403, parts
        foreign = {**BROWSER, "Origin": "https://evil.example"}
        parts = [("form_token", (None, token)), ("files", ("a.md", NOTE))]
        assert (await browser.client.post("/upload", files=parts, headers=foreign)).status_code == 403
        assert await files(gateway) == 0


async def test_keys_with_one_scope(gateway: Gateway) -> None:
    async with browsing(gateway, "write") as writer, browsing(gateway, "read") as reader:
        taken = await writer.upload(("a.md", NOTE))
        assert taken.status_code == 200 and "lacks the scope read" in shown_text(taken)
        refused = await writer.open("/runs")
        assert refused.status_code == 403 and "lacks the scope 'read'" in shown_text(refused)
        refused = await reader.upload(("a.md", NOTE))
        assert refused.status_code == 403 and "lacks the scope 'write'" in shown_text(refused)
        assert 'action="/upload"' not in (await reader.open("/")).text


async def test_a_run_of_another_home_and_one_that_never_was_are_not_found(gateway: Gateway) -> None:
    async with browsing(gateway) as browser:
        shown = await browser.open("/runs/0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a")
        assert (shown.status_code, "no run" in shown.text) == (404, True)
        assert (await browser.open("/runs/not-an-id")).status_code == 404
    found = await documents_of_run(gateway.custody.catalog, UUID(int=1))
    assert found.documents == [] and not found.truncated
