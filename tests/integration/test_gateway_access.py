"""What every answer carries: request ids, a line of log, safe headers; and what pages of other sites may do."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.gateway import Gateway, error_of, running_gateway
from waybill.gateway.request_log import JsonLines

PAGE = "https://app.example.org"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home", cors_origins=(PAGE,)) as running:
        yield running


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The gateway's log."""
    text, logger = io.StringIO(), logging.getLogger("waybill.gateway")
    handler, level = logging.StreamHandler(text), logger.level
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield text
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_a_requests_id_is_taken_over_where_it_can_do_no_harm(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for given, taken in [
        ("order-4711", True),
        ("a" * 64, True),
        ("a" * 65, False),
        ("a b", False),
        ("a\tb", False),
        ("{x}", False),
    ]:
        with subtests.test(given=given, taken=taken):
            answer = await gateway.client.get("/health", headers={"X-Request-ID": given})
            assert (answer.headers["x-request-id"] == given) is taken
            assert len(answer.headers["x-request-id"]) in {len(given), 32}


async def test_a_request_is_one_line_of_json_without_anything_secret(gateway: Gateway, written: io.StringIO) -> None:
    artifact = await gateway.put(b"content")
    headers = await gateway.headers("read")
    link = gateway.link(artifact)
    await gateway.client.get(link)
    await gateway.client.get(f"/api/v1/files/download/{artifact.file_id}", headers=headers)
    await gateway.client.get(f"/api/v1/files/metadata/{uuid4()}", headers={**headers, "X-Request-ID": "mine"})
    await gateway.client.get("/api/v1/nothing-here?token=secret")
    by_link, by_key, missing, nowhere = map(json.loads, written.getvalue().splitlines())
    assert (by_link["route"], by_link["status"], by_link["actor"], by_link["bytes_sent"]) == (
        "/api/v1/files/download/{file_id}", 200, "link", 7,
    )  # fmt: skip
    assert str(by_key["actor"]).startswith("key:")
    assert (missing["status"], missing["request_id"]) == (404, "mine")
    assert (nowhere["route"], nowhere["status"]) == ("unknown", 404)
    for secret in (headers["Authorization"].removeprefix("Bearer "), link.rpartition("=")[2], "token=secret"):
        assert secret not in written.getvalue()


async def test_the_id_in_the_log_is_the_one_in_the_audit_log(gateway: Gateway) -> None:
    artifact = await gateway.put(b"content")
    answer = await gateway.client.get(gateway.link(artifact))
    (row,) = await gateway.audited("download")
    assert row["request_id"] == answer.headers["x-request-id"]
    assert (row["actor"], row["client"]) == ("link", "127.0.0.1")


async def test_pages_of_sites_that_are_named_may_use_the_api(gateway: Gateway) -> None:
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    allowed = await gateway.client.options("/api/v1/ingest/file", headers=asked)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, PAGE)
    answer = await gateway.client.get("/health", headers={"Origin": PAGE})
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers
    stranger = await gateway.client.options("/api/v1/ingest/file", headers={**asked, "Origin": "https://evil.example"})
    assert stranger.status_code == 400 and "access-control-allow-origin" not in stranger.headers


async def test_by_default_no_other_site_may(database_url: str, tmp_path: Path) -> None:
    async with running_gateway(database_url, tmp_path / "plain") as plain:
        answer = await plain.client.get("/health", headers={"Origin": PAGE})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_what_is_not_there_is_told_in_the_one_shape(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for path in ["/api/v1/nowhere", "/api/v1/files/../../etc/passwd", "/health/"]:
        with subtests.test(path=path):
            answer = await gateway.client.get(path)
            assert (answer.status_code, error_of(answer)) == (404, "NotFound")
            assert isinstance(answer, httpx.Response)
