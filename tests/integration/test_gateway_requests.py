"""What HTTP lets clients send is accepted on every path, and what every response promises is in every response."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from blocks.errors import CatalogUnavailable
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.test_gateway_scopes import documented
from waybill.gateway.request_log import JsonLines
from waybill.gateway.routes import files

LIST = "/api/v1/files/list"
EVERYTHING = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def test_head_works_wherever_get_does(gateway: Gateway) -> None:
    artifact = await gateway.put(b"content")
    headers = await gateway.headers()
    for path in [path for method, path in documented() if method == "GET"]:
        filled = path.replace("{file_id}", str(artifact.file_id))
        filled = filled.replace("{task_id}", str(artifact.file_id)).replace("{delivery_id}", str(artifact.file_id))
        got = await gateway.client.get(filled, headers=headers)
        asked = await gateway.client.head(filled, headers=headers)
        assert (path, asked.status_code, asked.content) == (path, got.status_code, b"")
        assert asked.headers["content-type"] == got.headers["content-type"]
        assert asked.headers.get("content-length") or path == "/metrics"
        assert (await gateway.client.head(filled)).status_code == (await gateway.client.get(filled)).status_code


async def test_a_method_that_a_path_does_not_have_is_405_with_those_that_it_has(gateway: Gateway) -> None:
    paths: dict[str, set[str]] = {}
    for method, path in documented():
        paths.setdefault(path.replace("{", "").replace("}", ""), set()).update(
            {"GET", "HEAD"} if method == "GET" else {method}
        )
    for path, methods in paths.items():
        filled = re.sub("file_id|plan_id", "07ea5ac1-3125-4ba3-85c9-4db3d2bb8b56", path)
        for method in EVERYTHING - methods:
            answer = await gateway.client.request(method, filled)
            assert (method, path, answer.status_code) == (method, path, 405)
            allowed = {word.strip() for word in answer.headers["allow"].split(",")}
            assert (path, allowed) == (path, methods)
            if method != "HEAD":
                assert error_of(answer) == "MethodNotAllowed"


@pytest.mark.parametrize(
    ("query", "headers", "files"),
    [
        ("?source_file=a+b.md", {}, 1),
        ("?source_file=a%20b.md", {}, 1),
        ("?source_file=a%2Bb.md", {}, 0),
        ("?limit=7&limit=1&source_file=a+b.md", {}, 1),
        ("?source_file=%61%20b%2Emd&&", {}, 1),
        ("", {"Accept": "text/html"}, 1),
        ("", {"Accept": "application/xml;q=1, */*;q=0"}, 1),
        ("", {"Connection": "close, keep-alive"}, 1),
        ("", {"Content-Length": "0"}, 1),
    ],
)
async def test_queries_and_headers_in_other_forms(
    gateway: Gateway, query: str, headers: dict[str, str], files: int
) -> None:
    await gateway.put(b"content", name="a b.md")
    answer = await gateway.client.get(LIST + query, headers={**headers, **await gateway.headers("read")})
    assert (answer.status_code, len(answer.json()["files"])) == (200, files)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8", "application/x+json"],
)
async def test_parameters_of_a_media_type_change_nothing(gateway: Gateway, content_type: str) -> None:
    artifact = await gateway.put(b"content")
    headers = {**await gateway.headers(), "Content-Type": content_type}
    shared = await gateway.client.post(f"/api/v1/files/{artifact.file_id}/share", content=b"{}", headers=headers)
    assert shared.status_code == 200
    body = b'--a b\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\nx\r\n--a b--\r\n'
    headers["Content-Type"] = 'Multipart/Form-Data; charset=utf-8; boundary="a b"'
    assert (await gateway.client.post("/api/v1/files/upload", content=body, headers=headers)).status_code == 201


# Requests that are repeated -------------------------------------------------------------------------------------------

UPLOAD = "/api/v1/files/upload"


async def upload(
    gateway: Gateway, headers: dict[str, str], content: bytes = b"content", *, name: str = "a.md", **fields: str
) -> httpx.Response:
    headers = {"Idempotency-Key": "order-1", **headers}
    return await gateway.client.post(UPLOAD, files={"file": (name, content)}, data=fields, headers=headers)


async def count(gateway: Gateway, table: str) -> int:
    async with gateway.custody.catalog.connection() as connection:
        found = await (await connection.execute(f"select count(*) as rows from {table}")).fetchone()  # noqa: S608
    assert found is not None
    return int(found["rows"])


async def test_an_upload_that_is_repeated_is_stored_once(gateway: Gateway) -> None:
    headers = await gateway.headers("write")
    given = {"metadata": json.dumps({"b": 1, "a": [2**53, 1.5]}), "source_type": "mail"}
    answers = await asyncio.gather(*(upload(gateway, headers, **given) for _ in range(12)))
    assert [answer.status_code for answer in answers] == [201] * 12
    assert len({answer.text for answer in answers}) == 1
    replayed = [answer.headers.get("idempotency-replayed") for answer in answers]
    assert sorted(replayed, key=str) == [None, *["true"] * 11]
    assert len({answer.headers["location"] for answer in answers}) == 1
    # A response that an earlier version stored has no "held".
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update idempotent_requests set answer = answer - 'held'")
    assert (await upload(gateway, headers, **given)).json() == {**answers[0].json(), "held": False}
    assert await count(gateway, "artifacts") == 1
    for changed in ({"content": b"other"}, {"name": "b.md"}, {"source_type": "scan"}):
        other = await upload(gateway, headers, **{**given, **changed})  # type: ignore[arg-type]
        assert (other.status_code, error_of(other)) == (422, "IdempotencyKeyReused")
    test = {"endpoint_id": str(uuid4())}
    elsewhere = await gateway.client.post(
        "/api/v1/webhooks/test", json=test, headers={**headers, "Idempotency-Key": "order-1"}
    )
    assert (elsewhere.status_code, error_of(elsewhere)) == (422, "IdempotencyKeyReused")
    assert (await upload(gateway, await gateway.headers("write"))).json()["file_id"] != answers[0].json()["file_id"]
    assert (await upload(gateway, {**headers, "Idempotency-Key": "a b"})).status_code == 422


async def test_an_upload_that_was_refused_may_be_corrected_under_its_key(gateway: Gateway) -> None:
    headers = await gateway.headers("write")
    assert (await upload(gateway, headers, metadata="[]")).status_code == 422
    assert (await upload(gateway, headers)).status_code == 201


async def test_an_upload_whose_answer_was_not_recorded_is_resumed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await gateway.headers("write")

    async def away(*_: Any) -> None:
        raise CatalogUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(files, "record_answer", away)
        assert (await upload(gateway, headers)).status_code == 503
    other = await upload(gateway, headers, b"other")
    assert (other.status_code, error_of(other)) == (422, "IdempotencyKeyReused")
    resumed = await upload(gateway, headers)
    assert (resumed.status_code, await count(gateway, "artifacts")) == (201, 1)
    assert (await upload(gateway, headers)).json() == resumed.json()


async def test_replays_and_tests_of_webhooks_happen_once(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("waybill.gateway.routes.webhooks._TEST_SECONDS", 0.0)
    headers = {**await gateway.headers(), "Idempotency-Key": "test-1"}
    made = await gateway.client.post(
        "/api/v1/webhooks/endpoints", json={"url": "https://hooks.example.org/"}, headers=await gateway.headers("admin")
    )
    given = {"endpoint_id": made.json()["endpoint_id"]}
    tests = [await gateway.client.post("/api/v1/webhooks/test", json=given, headers=headers) for _ in range(3)]
    assert [one.headers.get("idempotency-replayed") for one in tests] == [None, "true", "true"]
    assert len({one.json()["delivery_id"] for one in tests}) == await count(gateway, "webhook_deliveries") == 1
    headers["Idempotency-Key"] = "replay-1"
    path = f"/api/v1/webhooks/deliveries/{tests[0].json()['delivery_id']}/replay"
    replays = [await gateway.client.post(path, headers=headers) for _ in range(2)]
    assert [one.json() for one in replays] == [{"replayed": 0}] * 2
    assert [one.headers.get("idempotency-replayed") for one in replays] == [None, "true"]
    missing = await gateway.client.post(f"/api/v1/webhooks/deliveries/{uuid4()}/replay", headers=headers)
    assert (missing.status_code, error_of(missing)) == (422, "IdempotencyKeyReused")


async def test_what_answers_with_a_secret_refuses_an_idempotency_key(gateway: Gateway) -> None:
    artifact, headers = await gateway.put(b"content"), {**await gateway.headers(), "Idempotency-Key": "order-1"}
    for path, body in (
        (f"/api/v1/files/{artifact.file_id}/share", {}),
        ("/api/v1/webhooks/endpoints", {"url": "https://hooks.example.org/"}),
        (f"/api/v1/webhooks/endpoints/{uuid4()}/rotate", {}),
    ):
        refused = await gateway.client.post(path, json=body, headers=headers)
        assert (refused.status_code, error_of(refused)) == (422, "IdempotencyKeyNotSupported")
        assert (await gateway.client.post(path, json=body, headers={"Idempotency-Key": "order-1"})).status_code == 401
    assert await count(gateway, "webhook_endpoints") == 0


# What every response has ----------------------------------------------------------------------------------------------


async def test_an_unexpected_error_has_an_id_too_and_is_logged_as_500(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise RuntimeError("eyJ")

    written, log = io.StringIO(), logging.getLogger("waybill.gateway.access")
    handler = logging.StreamHandler(written)
    handler.setFormatter(JsonLines())
    headers = {**await gateway.headers("read"), "X-Request-ID": "order-4711"}
    monkeypatch.setattr(gateway.resources.lookups, "key", fails)
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    try:
        answer = await gateway.client.get(LIST, headers=headers)
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert (answer.status_code, error_of(answer)) == (500, "InternalError")
    assert answer.headers["x-request-id"] == "order-4711"
    (line,) = map(json.loads, written.getvalue().splitlines())
    assert (line["status"], line["complete"], line["request_id"]) == (500, True, "order-4711")


async def test_every_503_says_when_to_try_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: Any) -> None:
        raise CatalogUnavailable("away")

    headers = await gateway.headers()
    monkeypatch.setattr(gateway.resources.lookups, "key", away)
    monkeypatch.setattr("waybill.gateway.readiness._reach_database", away)
    for path in (LIST, "/ready", "/metrics"):
        answer = await gateway.client.get(path, headers=headers)
        assert (path, answer.status_code, answer.headers.get("retry-after")) == (path, 503, "5")
        assert answer.headers["x-request-id"]
