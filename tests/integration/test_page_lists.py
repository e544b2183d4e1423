"""Exports, retention and the API's own page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from blocks.access import Actor
from tests.gateway import Gateway, running_gateway
from tests.gateway.browsing import browsing, shown_text
from waybill.gateway.pages.api_reference import api_reference
from waybill.services.files import hold_file

HOSTILE = "<script>alert(1)</script>.pdf"
TESTER = Actor(actor="cli:a test")


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def test_a_table_is_exported_and_downloaded(gateway: Gateway) -> None:
    await gateway.put(b"x", name=HOSTILE)
    async with browsing(gateway) as browser:
        assert "Nothing was exported yet" in (await browser.open("/exports")).text
        answer = await browser.send("/exports", {"table": "artifacts", "format": "csv"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/exports"), answer.text
        page = await browser.open("/exports")
        assert "completed" in page.text
        (path,) = re.findall(r'href="(/files/[0-9a-f-]+)"', page.text)
        got = await browser.open(path)
        assert HOSTILE in got.text and got.headers["content-disposition"].startswith("attachment")
        for fields in ({"table": "none", "format": "csv"}, {"table": "artifacts", "format": "exe"}, {}):
            assert (await browser.send("/exports", fields)).status_code == 422, fields
        assert (await browser.send("/exports", {"table": "artifacts"}, form_token="")).status_code == 403
    async with browsing(gateway, "write") as writer:
        assert (await writer.send("/exports", {"table": "artifacts", "format": "csv"})).status_code == 403


async def test_what_goes_next_and_what_is_kept(gateway: Gateway) -> None:
    soon = await gateway.put(b"a", name=HOSTILE, keep_for=timedelta(hours=1))
    late = await gateway.put(b"b", name="late.pdf", keep_for=timedelta(days=30))
    held = await gateway.put(b"c", name="held.pdf")
    await hold_file(gateway.custody, held.file_id, note="<b>case</b>", by=TESTER)
    async with browsing(gateway) as browser:
        page = await browser.open("/retention")
        assert page.text.index(str(soon.file_id)) < page.text.index(str(late.file_id))
        assert "<script>" not in page.text and "<b>case" not in page.text and "legal hold" in page.text
        pinned = await browser.send(f"/files/{late.file_id}/pin", {"from": "retention", "note": "for the audit"})
        assert pinned.headers["location"] == "/retention"
        page = await browser.open("/retention")
        assert "for the audit" in page.text and f"/files/{late.file_id}/unpin" in page.text
    async with browsing(gateway, "read") as reader:
        page = await reader.open("/retention")
        assert page.status_code == 200 and "/pin" not in page.text


async def test_the_api_page_has_every_path_with_a_sentence_and_needs_no_key(gateway: Gateway) -> None:
    described: dict[str, Any] = (await gateway.client.get("/api/v1/openapi.json")).json()
    async with browsing(gateway, signed_in=False) as browser:
        page = await browser.open("/docs")
        assert page.status_code == 200 and "'self'" in page.headers["content-security-policy"]
        text = shown_text(page)
        count = 0
        for path, methods in described["paths"].items():
            for operation in methods.values():
                count += 1
                # Names in backquotes are shown as code, with spaces of their own around them.
                sentence = operation["summary"].replace("`", "")
                assert path in text and "".join(sentence.split()) in "".join(text.split())
                # A sentence: "Store a file, ..." and not the name of a function.
                assert re.fullmatch(r"[A-Z].* .*\.", operation["summary"]), (path, operation["summary"])
        assert page.text.count('class="operation"') == count > 40
        assert set(re.findall(r'(?:src|href)="(https?:[^"]+)"', page.text)) == set()
    async with browsing(gateway) as browser:
        assert "Sign out" in (await browser.open("/docs")).text


def test_types_of_fields_are_in_words_and_circles_end() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}, "required": ["next"]}
    body = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]}
    answer = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Node"}}}, "description": "ok"}
    parameter = {"name": "q", "in": "query", "schema": body, "required": True}
    operation = {
        "summary": "Do it.",
        "description": "Do it. Now.",
        "parameters": [parameter],
        "responses": {"200": answer},
    }
    document = {"paths": {"/a": {"get": operation}}, "components": {"schemas": {"Node": node}}}
    ((found,),) = [subject.operations for subject in api_reference(document)]
    assert (found.parameters[0].kind, found.description) == ("list of string or null", "Now.")
    assert (found.answers[0].fields[0].kind, found.answers[0].fields[0].is_required) == ("Node", True)
