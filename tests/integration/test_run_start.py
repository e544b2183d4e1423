"""Runs over HTTP on any number of sources: who may start them on what, lists checked as they arrive, and pools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun

from flows.process import process_documents
from tasks.sources.source_lists import MEDIA_TYPE, read_list
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.prefect_runs import all_runs
from waybill.client import Client
from waybill.gateway.routes import run_start

RUNS = "/api/v1/runs"
FILE = f"waybill:{uuid4()}"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, prefect_server: str) -> AsyncGenerator[Gateway]:
    await (await process_documents.ato_deployment(name="waybill")).aapply()
    async with running_gateway(database_url, tmp_path / "home", prefect_api=prefect_server) as running:
        yield running


async def start(
    gateway: Gateway,
    content: bytes | None = None,
    *scopes: str,
    key: str | None = None,
    once: str | None = None,
    **fields: str,
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or await gateway.key(*(scopes or ('admin',)))}"}
    if once is not None:
        headers["Idempotency-Key"] = once
    parts: list[tuple[str, tuple[str | None, str | bytes]]] = [(name, (None, one)) for name, one in fields.items()]
    if content is not None:
        parts.append(("file", ("letters.txt", content)))
    return await gateway.client.post(RUNS, files=parts, headers=headers)


async def run_of(answer: httpx.Response) -> FlowRun:
    assert answer.status_code == 202, answer.text
    async with get_client() as client:
        return await client.read_flow_run(UUID(answer.json()["task_id"]))


async def uploads(gateway: Gateway) -> int:
    async with gateway.custody.catalog.connection() as connection:
        found = await (await connection.execute("select count(*) as files from artifacts")).fetchone()
    assert found is not None
    return int(found["files"])


async def test_a_list_becomes_a_run_that_is_spread_with_all_that_was_asked_for(gateway: Gateway) -> None:
    pool = f"pool-{uuid4()}"
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    content = b'# letters\n/in/a.md\n{"source": "s3://inbox/b.md", "customer": 7}\r\n\nwaybill:' + FILE[8:].encode()
    answer = await start(gateway, content, spread=pool, stages="1-2", reuse="false", keep_for="90d", sources="/in/c.md")
    told = answer.json()
    assert (told["sources"], told["status_url"]) == (4, answer.headers["location"])
    run = await run_of(answer)
    assert (run.name, run.state_name) == ("c.md and 3 more", "Scheduled")
    assert run.parameters == {
        "sources": ["/in/c.md", told["list_source"]],
        "spread": pool,
        "stages": [1, 2],
        "reuse": False,
        "keep_for": "90d",
    }
    file_id = UUID(told["list_source"].split(":")[2].split("/")[0])
    kept = await gateway.custody.get(file_id)
    assert told["list_source"] == f"list:waybill:{file_id}/letters.txt"
    assert (kept.filename, kept.media_type, await gateway.custody.read(kept)) == ("letters.txt", MEDIA_TYPE, content)
    assert kept.expires_at - kept.created_at == timedelta(days=7)
    (row,) = await gateway.audited("run_started")
    assert (str(row["run_id"]), row["file_id"], row["detail"]) == (
        told["task_id"], file_id, {"sources": 4, "spread": pool},
    )  # fmt: skip


async def test_a_hundred_thousand_sources_fit_into_a_run(gateway: Gateway) -> None:
    """The run's parameters stay small, and the list has each of them."""
    count = 100_000
    content = b"".join(b"/in/letters/a-quite-ordinary-name-%06d.md\n" % number for number in range(count))
    run = await run_of(answer := await start(gateway, content, stages="1"))
    assert (answer.json()["sources"], len(json.dumps(run.parameters)) < 1000) == (count, True)
    (named,) = run.parameters["sources"]
    kept = await gateway.custody.get(UUID(named.split(":")[2].split("/")[0]))
    found = list(read_list([await gateway.custody.read(kept)], named))
    assert (len(found), found[0], found[-1]) == (
        count, "/in/letters/a-quite-ordinary-name-000000.md", "/in/letters/a-quite-ordinary-name-099999.md",
    )  # fmt: skip


async def test_only_an_admin_names_what_is_not_in_custody(gateway: Gateway, subtests: pytest.Subtests) -> None:
    places = ["/etc/hostname", "s3://inbox/", "file:///etc/hostname", "list:/in/letters.txt", f"{FILE}\n/etc/hostname"]
    text = await gateway.put(b"/etc/hostname\n", name="letters.txt", media_type="text/plain")
    for sources in [*places, f"list:waybill:{text.file_id}"]:
        with subtests.test(sources=sources):
            answer = await start(gateway, None, "write", "read", sources=sources)
            assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")
    for content in [b"/etc/hostname", FILE.encode() + b"\nhttps://example.org/a.md\n"]:
        with subtests.test(content=content):
            answer = await start(gateway, content, "write", "read")
            assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")
    assert await uploads(gateway) == 1

    assert (await start(gateway, None, "write", sources=FILE)).status_code == 202
    assert (await start(gateway, FILE.encode(), "write")).status_code == 202
    answer = await start(gateway, None, "write", sources=FILE, webhook_url="https://example.org/")
    assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")


async def test_a_list_in_custody_starts_another_run_for_those_who_may(gateway: Gateway) -> None:
    harmless = (await start(gateway, FILE.encode(), "write")).json()["list_source"]
    again = await run_of(await start(gateway, None, "write", sources=harmless))
    assert again.parameters == {"sources": [harmless]}
    places = (await start(gateway, b"/in/a.md")).json()["list_source"]
    assert (await start(gateway, None, "write", sources=places)).status_code == 403
    assert (await start(gateway, None, sources=places)).status_code == 202
    gone = await start(gateway, None, "write", sources=f"list:waybill:{uuid4()}")
    assert (gone.status_code, error_of(gone)) == (404, "ArtifactNotFound")


@pytest.mark.parametrize(
    ("content", "fields", "says"),
    [
        (None, {"sources": ""}, "name the sources"),
        (None, {"sources": " \n# none\n"}, "name the sources"),
        (b"", {}, "the list has no source"),
        (b"\n# nothing\n\n", {}, "the list has no source"),
        (b"/in/a.md\nletters/b.md\n", {}, "line 2 of the list: 'letters/b.md' is no source"),
        (b"/in/a.md\n\nwaybill:7\n", {}, "line 3 of the list: 'waybill:7' has no file id"),
        (b"list:/in/more.txt", {}, "line 1 of the list: a list may not name another list"),
        (b'{"sorce": "/in/a.md"}', {}, "line 1 of the list names no source"),
        (b"{", {}, "line 1 of the list begins as JSON and is none"),
        (b"zip://a", {}, "line 1 of the list: zip:// needs a place to read from"),
        (b"/in/a\0.md", {}, "line 1 of the list: the source"),
        (b"/" + b"a" * 70_000, {}, "it has a line of more than 65,536 bytes"),
        (None, {"sources": "letters/b.md"}, "'letters/b.md' is no source"),
        (b"/in/a.md", {"spread": "no-such-pool"}, "Prefect has no work pool 'no-such-pool'"),
        (b"/in/a.md", {"spread": "../flows"}, "there is no work pool"),
        (b"/in/a.md", {"stages": "9"}, ""),
        (b"/in/a.md", {"reuse": "perhaps"}, "reuse is true or false"),
        (b"/in/a.md", {"nonsense": "1"}, ""),
    ],
)
async def test_what_cannot_be_a_run_is_refused_and_nothing_is_kept(
    gateway: Gateway, content: bytes | None, fields: dict[str, str], says: str
) -> None:
    answer = await start(gateway, content, **fields)
    assert (answer.status_code, error_of(answer)) == (422, "InvalidOptions")
    assert says in answer.json()["error"]["message"]
    assert await uploads(gateway) == 0
    assert list(gateway.custody.backend.paths()) == []


async def test_a_list_that_is_too_large_is_refused_with_the_limit(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_start, "MOST_LIST_BYTES", 1000)
    answer = await start(gateway, b"/in/a.md\n" * 112)
    assert (answer.status_code, error_of(answer)) == (413, "TooLarge")
    assert answer.json()["error"]["detail"] == {"max_bytes": 1000}
    assert await uploads(gateway) == 0


async def test_a_request_that_is_sent_again_is_one_list_and_one_run(gateway: Gateway) -> None:
    key = await gateway.key("admin")
    told = [await start(gateway, b"/in/a.md", key=key, once="batch-1") for _ in range(2)]
    assert told[0].json() == told[1].json() and told[1].headers["idempotency-replayed"] == "true"
    assert await uploads(gateway) == 1
    other = await start(gateway, b"/in/b.md", key=key, once="batch-1")
    assert (other.status_code, error_of(other)) == (422, "IdempotencyKeyReused")
    async with get_client() as client:
        runs = await all_runs(client)
    assert sum(run.parameters.get("sources") == [told[0].json()["list_source"]] for run in runs) == 1


async def test_a_list_stays_when_no_run_can_be_started_and_the_same_request_goes_on(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await gateway.key("admin")

    async def fails(*_: object, **__: object) -> UUID:
        raise run_start.Transient("the Prefect server does not answer")

    with monkeypatch.context() as outage:
        outage.setattr(run_start, "start_run_on", fails)
        answer = await start(gateway, b"/in/a.md", key=key, once="batch-1")
    assert answer.status_code == 503
    named = answer.json()["error"]["detail"]["list_source"]
    run = await run_of(await start(gateway, b"/in/a.md", key=key, once="batch-1"))
    assert run.parameters["sources"] == [named]
    assert await uploads(gateway) == 1


async def test_the_client_starts_a_run_on_a_list(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("/in/a.md\n/in/b.md\n")
    key = await gateway.key("admin")

    def begin() -> dict[str, object]:
        with Client(gateway.url, key) as waybill:
            return waybill.start(["/in/c.md", "/in/d.md"], list_path=tmp_path / "letters.txt", stages="1", reuse=False)

    started = await asyncio.to_thread(begin)
    assert started["sources"] == 4
    async with get_client() as client:
        run = await client.read_flow_run(UUID(str(started["task_id"])))
    assert run.parameters == {
        "sources": ["/in/c.md", "/in/d.md", started["list_source"]], "stages": [1], "reuse": False,
    }  # fmt: skip
