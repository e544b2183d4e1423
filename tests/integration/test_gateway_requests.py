"""What HTTP lets clients send is accepted on every path, and what every response promises is in every response."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.test_gateway_scopes import documented

LIST = "/api/v1/files/list"
EVERYTHING = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}


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
        filled = path.replace("file_id", "07ea5ac1-3125-4ba3-85c9-4db3d2bb8b56")
        for method in ("OPTIONS", "PATCH", *(EVERYTHING - methods)):
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
