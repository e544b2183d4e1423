"""Ingest over HTTP: a file into custody and a run on a real Prefect server, once however often it is asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun

from flows.process import process_documents
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.prefect_runs import all_runs

INGEST = "/api/v1/ingest/file"
NOTE = b"# A note\n\nThe pump was replaced on 3 May 2026.\n"


@pytest.fixture(scope="module")
async def deployment(prefect_server: str) -> UUID:
    """The deployment, registered and served by nobody: its runs wait."""
    del prefect_server
    served = await process_documents.ato_deployment(name="waybill")
    return UUID(str(await served.apply()))


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, prefect_server: str, deployment: UUID) -> AsyncGenerator[Gateway]:
    del deployment
    # Each request has a run of its own; those that share one are in test_ingest_window.
    async with running_gateway(
        database_url, tmp_path / "home", prefect_api=prefect_server, ingest_window_seconds=0
    ) as running:
        yield running


async def ingest(
    gateway: Gateway,
    content: bytes | None = NOTE,
    *,
    name: str = "note.md",
    key: str | None = None,
    once: str | None = None,
    **fields: str,
) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or await gateway.key('write')}"}
    if once is not None:
        headers["Idempotency-Key"] = once
    files = {"file": (name, content)} if content is not None else {"file_id": (None, fields.pop("file_id"))}
    return await gateway.client.post(INGEST, files=files, data=fields, headers=headers)


async def run_of(answer: httpx.Response) -> FlowRun:
    assert answer.status_code == 202, answer.text
    async with get_client() as client:
        return await client.read_flow_run(UUID(answer.json()["task_id"]))


async def runs_on(file_id: str) -> int:
    """How many runs there are for this file."""
    async with get_client() as client:
        found = await all_runs(client)
    return sum(str(run.parameters.get("sources")).startswith(f"['waybill:{file_id}/") for run in found)


async def files(gateway: Gateway) -> int:
    async with gateway.custody.catalog.connection() as connection:
        found = await (await connection.execute("select count(*) as files from artifacts")).fetchone()
    assert found is not None
    return int(found["files"])


# One request ----------------------------------------------------------------------------------------------------------


async def test_a_file_becomes_an_upload_and_a_run_on_it(gateway: Gateway) -> None:
    answer = await ingest(
        gateway,
        stages="1-3",
        options=json.dumps({"chunker": {"max_tokens": 200}}),
        webhook_url="https://example.org/hook",
        source_type="mail",
        metadata='{"customer": 7}',
        keep_for="90d",
    )
    told = answer.json()
    assert told.keys() == {"task_id", "status_url", "file_id"}
    assert told["status_url"] == f"{gateway.url}/api/v1/status/{told['task_id']}" == answer.headers["location"]
    run = await run_of(answer)
    assert (run.name, run.state_name) == ("note.md", "Scheduled")
    status = await gateway.client.get(f"/api/v1/status/{run.id}", headers=await gateway.headers("read"))
    assert (status.json()["name"], status.json()["source_file"]) == ("note.md", "note.md")
    assert run.parameters == {
        "sources": [f"waybill:{told['file_id']}/note.md"],
        "stages": [1, 2, 3],
        "options": {"chunker": {"max_tokens": 200}},
        "webhook_url": "https://example.org/hook",
        "keep_for": "90d",
    }
    artifact = await gateway.custody.get(UUID(told["file_id"]))
    assert await gateway.custody.read(artifact) == NOTE
    assert artifact.metadata == {"customer": 7, "source_type": "mail"}
    assert artifact.expires_at - artifact.created_at == timedelta(days=90)
    (row,) = await gateway.audited("ingest")
    assert (str(row["run_id"]), str(row["file_id"])) == (told["task_id"], told["file_id"])


EMPTY = {"stages": "", "options": "", "webhook_url": " ", "metadata": "", "source_type": "", "keep_for": ""}


async def test_what_is_left_out_is_left_to_the_flow(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for fields, parameters in [
        ({}, {}),
        (EMPTY, {"stages": None, "options": {}, "webhook_url": None}),
        ({"stages": "[1, 2]"}, {"stages": [1, 2]}),
        ({"stages": "1, 3-4"}, {"stages": [1, 3, 4]}),
        ({"run_on": " "}, {"run_on": None}),
        (
            {"run_on": '{"chunker": "gpu-pool", "markdown_conversion": {"label": "a", "otherwise": "home"}}'},
            {
                "run_on": {
                    "chunker": {"label": "gpu-pool", "wait": "10m", "otherwise": "fail"},
                    "markdown-conversion": {"label": "a", "wait": "10m", "otherwise": "home"},
                }
            },
        ),
        ({"options": '{"fact-generator": {}}'}, {"options": {"fact_generator": {}}}),
    ]:
        with subtests.test(fields=fields, parameters=parameters):
            run = await run_of(await ingest(gateway, **fields))
            assert {name: value for name, value in run.parameters.items() if name != "sources"} == parameters


async def test_what_cannot_be_processed_is_refused_and_nothing_is_kept(
    gateway: Gateway, subtests: pytest.Subtests
) -> None:
    for content, fields, status, code in [
        (NOTE, {"stages": "9"}, 422, "InvalidOptions"),
        (NOTE, {"run_on": "gpu-pool"}, 422, "InvalidOptions"),
        (NOTE, {"run_on": '{"nonsense": "gpu-pool"}'}, 422, "InvalidOptions"),
        (NOTE, {"run_on": '{"chunker": "NOT A LABEL"}'}, 422, "InvalidOptions"),
        (NOTE, {"run_on": '{"ingestor": "gpu-pool"}'}, 422, "InvalidOptions"),
        (NOTE, {"stages": "1-999999999999"}, 422, "InvalidOptions"),
        (NOTE, {"stages": "all"}, 422, "InvalidOptions"),
        (NOTE, {"stages": "[1, 2"}, 422, "InvalidOptions"),
        (NOTE, {"keep_for": "for ever"}, 422, "InvalidOptions"),
        (NOTE, {"keep_for": "9999999d"}, 422, "InvalidOptions"),
        (NOTE, {"options": "{"}, 422, "InvalidOptions"),
        (NOTE, {"options": '{"chunker": {"max_tokens": "many"}}'}, 422, "InvalidOptions"),
        (NOTE, {"options": '{"no-such-stage": {}}'}, 422, "InvalidOptions"),
        (NOTE, {"options": r'{"markdown_conversion": {"encoding": "utf-8\u0000"}}'}, 422, "InvalidOptions"),
        (NOTE, {"webhook_url": "ftp://example.org/"}, 422, "InvalidWebhookUrl"),
        (NOTE, {"webhook_url": "http://user@example.org/"}, 422, "InvalidWebhookUrl"),
        (NOTE, {"webhook_url": "http://169.254.169.254/latest"}, 422, "AddressRefused"),
        (NOTE, {"webhook_url": "http://2130706433/"}, 422, "InvalidWebhookUrl"),
        (NOTE, {"webhook_url": "http://127.0.0.1:4360/"}, 422, "AddressRefused"),
        (NOTE, {"webhook_url": "http://[::1]:4360/"}, 422, "AddressRefused"),
        (NOTE, {"metadata": "[]"}, 422, "InvalidOptions"),
        (NOTE, {"source_type": "a\nb"}, 422, "InvalidOptions"),
        (NOTE, {"sources": "/etc/passwd"}, 422, "InvalidOptions"),
        (NOTE, {"file_id": str(uuid4())}, 422, "InvalidOptions"),
        (None, {"file_id": "../../etc/passwd"}, 422, "InvalidOptions"),
        (None, {"file_id": ""}, 422, "InvalidOptions"),
        (None, {"file_id": str(uuid4())}, 404, "ArtifactNotFound"),
        (b"", {}, 422, "EmptyDocument"),
        (b"\x7fELF" + bytes(100), {}, 415, "UnsupportedType"),
        (b"PK\x03\x04 and then nothing", {}, 422, "UnreadableDocument"),
    ]:
        with subtests.test(content=content, fields=fields, status=status, code=code):
            answer = await ingest(gateway, content, **fields)
            assert (answer.status_code, error_of(answer)) == (status, code)
            assert await files(gateway) == 0
            assert list(gateway.custody.backend.paths()) == []


async def test_a_file_in_custody_is_processed_without_being_sent_again(gateway: Gateway) -> None:
    artifact = await gateway.put(NOTE, name="note.md")
    answer = await ingest(gateway, None, file_id=str(artifact.file_id), stages="1")
    assert answer.json()["file_id"] == str(artifact.file_id)
    run = await run_of(answer)
    assert run.parameters == {"sources": [f"waybill:{artifact.file_id}/{artifact.source_file}"], "stages": [1]}
    again = await run_of(await ingest(gateway, None, file_id=str(artifact.file_id), stages="1"))
    assert again.id != run.id
    await gateway.custody.remove(artifact.file_id)
    gone = await ingest(gateway, None, file_id=str(artifact.file_id))
    assert (gone.status_code, error_of(gone)) == (410, "ArtifactGone")


# The same request more than once --------------------------------------------------------------------------------------


async def test_events_about_a_file_that_a_key_only_knows_by_its_id_need_read(gateway: Gateway) -> None:
    file_id = (await ingest(gateway)).json()["file_id"]
    hook = {"webhook_url": "https://example.org/hook", "file_id": file_id}
    refused = await ingest(gateway, None, **hook)
    assert (refused.status_code, error_of(refused)) == (403, "ScopeMissing")
    assert await runs_on(file_id) == 1
    assert (await ingest(gateway, None, key=await gateway.key("read", "write"), **hook)).status_code == 202


async def test_a_request_that_is_sent_again_gets_the_same_answer_and_makes_nothing(gateway: Gateway) -> None:
    key, fields = await gateway.key("write"), {"stages": "1-2", "metadata": '{"a": 1}'}
    first = await ingest(gateway, key=key, once="order-1", **fields)
    again = await ingest(gateway, key=key, once="order-1", **fields)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert (await files(gateway), await runs_on(first.json()["file_id"])) == (1, 1)


async def test_another_request_under_the_same_key_is_told_apart(gateway: Gateway) -> None:
    key = await gateway.key("write")
    first = await ingest(gateway, key=key, once="order-1", stages="1")
    for content, name, stages in ((NOTE + b"x", "note.md", "1"), (NOTE, "other.md", "1"), (NOTE, "note.md", "1-2")):
        answer = await ingest(gateway, content, name=name, key=key, once="order-1", stages=stages)
        assert (answer.status_code, error_of(answer)) == (422, "IdempotencyKeyReused")
    assert await files(gateway) == 1
    stranger = await ingest(gateway, once="order-1", stages="1")
    assert stranger.json()["task_id"] != first.json()["task_id"]


async def test_a_request_that_was_refused_may_be_put_right_under_its_key(gateway: Gateway) -> None:
    key = await gateway.key("write")
    refused = await ingest(gateway, key=key, once="order-1", stages="9")
    assert refused.status_code == 422
    assert (await ingest(gateway, key=key, once="order-1", stages="1")).status_code == 202


@pytest.mark.parametrize("by_id", [False, True], ids=["file", "file_id"])
async def test_many_at_once_under_one_key_are_one_run(gateway: Gateway, by_id: bool) -> None:
    key = await gateway.key("write")
    fields = {"file_id": str((await gateway.put(NOTE, name="note.md")).file_id)} if by_id else {}
    content = None if by_id else NOTE
    answers = await asyncio.gather(*(ingest(gateway, content, key=key, once="race", **fields) for _ in range(10)))
    assert [answer.status_code for answer in answers] == [202] * 10
    (told,) = {answer.text for answer in answers}
    assert (await files(gateway), await runs_on(json.loads(told)["file_id"])) == (1, 1)
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


async def test_a_key_that_is_none_is_refused(gateway: Gateway, subtests: pytest.Subtests) -> None:
    for once in ["", "ü", "a b", "x" * 256]:
        with subtests.test(once=once):
            headers = [
                (b"Authorization", f"Bearer {await gateway.key('write')}".encode()),
                (b"Idempotency-Key", once.encode()),
            ]
            answer = await gateway.client.post(INGEST, files={"file": ("note.md", NOTE)}, headers=headers)
            assert (answer.status_code, error_of(answer)) == (422, "InvalidRequest")
            assert await files(gateway) == 0


# Prefect fails --------------------------------------------------------------------------------------------------------


class Cut:
    """A way to Prefect that breaks off when a run is to be created, before or after Prefect has heard of it."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._path = parts.path
        self._serving: set[asyncio.Task[None]] = set()
        self.broken: str | None = None
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Cut]:
        server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self._here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self._here}{self._path}"
        async with server:
            yield self
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        back = asyncio.create_task(self._pass_on(up_reader, writer))
        try:
            while data := await reader.read(65536):
                # Prefect answers under its own address only.
                data = data.replace(f"Host: {self._here}".encode(), "Host: {}:{}".format(*self._target).encode())
                creates = b"/create_flow_run" in data
                if creates and self.broken == "before":
                    break
                if creates and self.broken == "after":
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                    up_writer.write(data)
                    # The body may come by itself.
                    rest = asyncio.create_task(self._pass_on(reader, up_writer))
                    await up_reader.read(65536)  # Prefect's answer, which nobody hears
                    rest.cancel()
                    await asyncio.gather(rest, return_exceptions=True)
                    break
                up_writer.write(data)
        finally:
            back.cancel()
            up_writer.close()
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


@pytest.mark.parametrize("by_id", [False, True], ids=["file", "file_id"])
@pytest.mark.parametrize("broken", ["before", "after"])
async def test_what_was_stored_when_prefect_failed_is_gone_on_with(
    database_url: str,
    tmp_path: Path,
    prefect_server: str,
    deployment: UUID,
    caplog: pytest.LogCaptureFixture,
    broken: str,
    by_id: bool,
) -> None:
    del deployment
    async with (
        Cut(prefect_server).listening() as way,
        running_gateway(database_url, tmp_path / "home", prefect_api=way.url) as gateway,
    ):
        key, other_file = await gateway.key("write"), str((await gateway.put(NOTE, name="other.md")).file_id)
        known = {"file_id": str((await gateway.put(NOTE, name="note.md")).file_id)} if by_id else {}
        content = None if by_id else NOTE
        way.broken = broken
        failed = await ingest(gateway, content, key=key, once="order-1", **known)
        assert (failed.status_code, error_of(failed)) == (503, "PrefectUnavailable")
        file_id = failed.json()["error"]["detail"]["file_id"]
        assert await gateway.custody.read(await gateway.custody.get(UUID(file_id))) == NOTE
        assert f"cannot start a run for file {file_id}: the Prefect server does not answer" in caplog.text
        way.broken = None
        other = await ingest(gateway, None, key=key, once="order-1", file_id=other_file)
        assert (other.status_code, error_of(other)) == (422, "IdempotencyKeyReused")
        answer = await ingest(gateway, content, key=key, once="order-1", **known)
        assert answer.json()["file_id"] == file_id
        # Beside the other one.
        assert (await files(gateway), await runs_on(file_id)) == (2, 1)


async def test_without_prefect_nothing_is_read_and_nothing_is_kept(database_url: str, tmp_path: Path) -> None:
    async with running_gateway(database_url, tmp_path / "home", prefect_api="http://127.0.0.1:9/api") as gateway:
        answer = await ingest(gateway)
        assert (answer.status_code, error_of(answer)) == (503, "PrefectUnavailable")
        assert answer.headers["retry-after"] == "5"
        assert await files(gateway) == 0
