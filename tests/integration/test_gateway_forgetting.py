"""Forgetting over HTTP: who may, what is answered, and what then is left of links and names."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from blocks.catalog import Artifact
from blocks.catalog.keeping import hold
from tests.gateway import Gateway, error_of, running_gateway
from tests.marked_places import marked_columns
from waybill.client import ApiError, Client

MARK = "Markqz-of-the-gateway.pdf"
CONTENT = b"a document that goes"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = f"/api/v1/documents/{SHA256}"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Gateway]:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def stored(gateway: Gateway) -> Artifact:
    return await gateway.put(CONTENT, name=MARK, document_sha256=SHA256)


async def test_a_document_is_forgotten_and_its_certificate_is_answered_and_kept(gateway: Gateway) -> None:
    file, other = await stored(gateway), await gateway.put(b"another", name="other.pdf")
    link = gateway.link(file)
    headers = await gateway.headers("admin")
    dry = await gateway.client.delete(PATH, params={"dry_run": "true"}, headers=headers)
    assert [one["filename"] for one in dry.json()["files"]] == [MARK] and dry.json()["refused"] is None
    assert (await gateway.client.get(link)).content == CONTENT

    done = await gateway.client.delete(PATH, headers=headers)
    assert done.status_code == 200, done.text
    certificate = done.json()
    assert (certificate["sha256"], certificate["removed"]["files"], certificate["left"]) == (SHA256, 1, {})
    assert certificate["prefect"] == {"by": "no Prefect server", "rows": {}}
    assert (await gateway.client.get(link)).status_code == 410
    assert not gateway.stored(file).exists() and gateway.stored(other).exists()
    assert marked_columns(gateway.database_url, [MARK]) == set()
    (entry,) = await gateway.audited("forget")
    assert entry["detail"] == certificate and entry["actor"].startswith("key:")

    again = await gateway.client.delete(PATH, headers=headers)
    assert (again.status_code, error_of(again)) == (404, "DocumentNotFound")
    assert "it was forgotten on" in again.text
    # And the same content can come again.
    assert (await gateway.custody.read(await stored(gateway))) == CONTENT


async def test_pins_ask_and_holds_refuse(gateway: Gateway) -> None:
    file = await stored(gateway)
    headers = await gateway.headers("admin")
    async with gateway.custody.catalog.transaction() as connection:
        await gateway.custody.catalog.pin(connection, file.file_id)
        await hold(connection, file.file_id)
    held = await gateway.client.delete(PATH, params={"force": "true"}, headers=headers)
    assert (held.status_code, error_of(held)) == (409, "ArtifactHeld")
    async with gateway.custody.catalog.transaction() as connection:
        await connection.execute("update artifacts set held_at = null, hold_note = null")
    pinned = await gateway.client.delete(PATH, headers=headers)
    assert (pinned.status_code, error_of(pinned)) == (409, "ArtifactPinned")
    dry = await gateway.client.delete(PATH, params={"dry_run": "true"}, headers=headers)
    assert "pinned" in dry.json()["refused"]
    assert (await gateway.client.delete(PATH, params={"force": "true"}, headers=headers)).status_code == 200


async def test_only_an_administrator_forgets_and_nothing_is_guessed(gateway: Gateway) -> None:
    file = await stored(gateway)
    refused = await gateway.client.delete(PATH, headers=await gateway.headers("read", "write"))
    assert refused.status_code == 403
    headers = await gateway.headers("admin")
    for path, parameters, status in (
        (PATH, {"dryrun": "true"}, 422),
        (f"/api/v1/documents/{SHA256[:12]}", {}, 422),
        (f"/api/v1/documents/{'0' * 64}", {}, 404),
    ):
        answer = await gateway.client.delete(path, params=parameters, headers=headers)
        assert answer.status_code == status, answer.text
    assert gateway.stored(file).exists()


async def test_the_client_forgets(gateway: Gateway) -> None:
    await stored(gateway)
    key = await gateway.key("admin")

    def forget() -> tuple[int, int, int]:
        with Client(gateway.url, key) as client:
            would, done = client.forget(SHA256, dry_run=True), client.forget(SHA256)
            with pytest.raises(ApiError) as refused:
                client.forget(SHA256)
        return len(would["files"]), done["removed"]["files"], refused.value.status

    assert await asyncio.to_thread(forget) == (1, 1, 404)
