"""The Python client against a real gateway: what users do with it, and what it does when things fail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
from prefect import get_client
from prefect.states import Completed, Running

from blocks.search_index import Entity, Fact, Keyword
from flows.process import process_documents
from tests.gateway import Gateway, running_gateway
from tests.integration.indexed import document, put
from tests.integration.prefect_runs import all_runs
from waybill import client as client_module
from waybill.client import ApiError, Client, Damaged
from waybill.gateway.routes import webhooks

T = TypeVar("T")
MIB = 1024 * 1024


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, prefect_server: str) -> AsyncGenerator[Gateway]:
    await (await process_documents.ato_deployment(name="waybill")).apply()
    async with running_gateway(
        database_url, tmp_path / "home", prefect_api=prefect_server, allow_private_webhooks="loopback"
    ) as running:
        yield running


async def using(gateway: Gateway, work: Callable[[Client], T], *, scopes: tuple[str, ...] = (), **options: Any) -> T:
    """*work* with a client, in a thread: the gateway runs in this one."""
    key = await gateway.key(*scopes)

    def run() -> T:
        with Client(gateway.url, key, **options) as client:
            return work(client)

    return await asyncio.to_thread(run)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_files_life(gateway: Gateway, tmp_path: Path) -> None:
    source, target = tmp_path / "report.bin", tmp_path / "copy.bin"
    source.write_bytes(os.urandom(3 * MIB + 5))

    def work(client: Client) -> None:
        made = client.upload(source, metadata={"customer": 7}, source_type="mail")
        file_id = made["file_id"]
        assert client.metadata(file_id)["metadata"] == {"customer": 7, "source_type": "mail"}
        assert [file["file_id"] for file in client.files_by_source("report.bin")] == [file_id]
        assert list(client.files_by_stage(3)) == []
        assert client.download(file_id, target).read_bytes() == source.read_bytes()
        assert httpx.get(client.share(file_id, "5m")["url"]).content == source.read_bytes()
        assert client.pin(file_id, "the auditors want it")["pinned"] is True
        with pytest.raises(ApiError) as refused:
            client.delete(file_id)
        assert (refused.value.status, refused.value.code) == (409, "ArtifactPinned")
        assert client.unpin(file_id)["pinned"] is False
        later = client.extend(file_id, "90d")["expires_at"]
        assert client.extend(file_id, until="2999-01-31")["expires_at"] > later > made["expires_at"]
        assert client.hold(file_id, "case 2026/114")["held"] is True
        assert client.release(file_id)["held"] is False
        client.delete(file_id)
        with pytest.raises(ApiError) as gone:
            client.metadata(file_id)
        assert (gone.value.status, gone.value.code) == (410, "ArtifactGone")

    await using(gateway, work)


async def test_lists_are_followed_over_their_pages(gateway: Gateway) -> None:
    for number in range(130):
        await gateway.put(b"x", name="many.bin", metadata={"number": number})
    found = await using(gateway, lambda client: list(client.files_by_source("many.bin")))
    assert [file["metadata"]["number"] for file in found] == list(reversed(range(130)))


async def test_a_run_from_ingest_to_its_end(gateway: Gateway, tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text("# A note\n\nWith text.\n")
    started = await using(gateway, lambda client: client.ingest(note, stages="1-2", metadata={"a": 1}))
    run_id = UUID(started["task_id"])
    assert (await using(gateway, lambda client: client.status(str(run_id))))["status"] == "scheduled"
    waiting = asyncio.create_task(using(gateway, lambda client: client.wait(str(run_id), every_seconds=0.05)))
    async with get_client() as prefect:
        for state in (Running(), Completed(message="1 of 1 documents completed")):
            await prefect.set_flow_run_state(run_id, state, force=True)
    ended = await waiting
    assert (ended["status"], ended["progress"]) == ("completed", 1.0)
    history = await using(gateway, lambda client: list(client.history(str(run_id))))
    assert [entry["status"] for entry in history] == ["completed", "running", "scheduled"]
    events = await using(gateway, lambda client: client.recent_events(1))
    assert str(run_id) in {event["task_id"] for event in events}
    again = await using(gateway, lambda client: client.ingest(file_id=started["file_id"], stages="1"))
    assert (again["file_id"], again["task_id"]) != (started["file_id"], started["task_id"])
    assert again["file_id"] == started["file_id"]


async def test_a_run_that_does_not_end_is_not_waited_for_for_ever(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("text")
    started = await using(gateway, lambda client: client.ingest(tmp_path / "note.md"))
    with pytest.raises(TimeoutError, match="still scheduled"):
        await using(gateway, lambda client: client.wait(started["task_id"], timeout_seconds=0.1, every_seconds=0.05))


async def test_webhook_endpoints(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "_TEST_SECONDS", 0.1)  # nobody sends anything here

    def work(client: Client) -> None:
        made = client.add_endpoint("http://127.0.0.1:9/hook", ["task_completed"])
        assert made["secret"].startswith("whsec_")
        (known,) = client.endpoints()
        assert known["endpoint_id"] == made["endpoint_id"] and "secret" not in known
        client.test_endpoint(made["endpoint_id"])
        (waiting,) = client.deliveries(endpoint_id=made["endpoint_id"])
        assert waiting["state"] == "pending"
        client.replay(waiting["delivery_id"])

    await using(gateway, work)


class Breaking(httpx.HTTPTransport):
    """A network on which the first answers break off, or never come."""

    def __init__(self, failures: int, *, after_bytes: int | None = None) -> None:
        super().__init__()
        self._left = failures
        self._after_bytes = after_bytes
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = super().handle_request(request)
        concerned = "/download/" in request.url.path or request.method == "POST"
        if self._left and concerned:
            self._left -= 1
            if self._after_bytes is None:
                answer.read()
                answer.close()
                raise httpx.ReadError("the answer was lost")
            return httpx.Response(answer.status_code, headers=answer.headers, stream=_Cut(answer, self._after_bytes))
        return answer


class _Cut(httpx.SyncByteStream):
    def __init__(self, answer: httpx.Response, after_bytes: int) -> None:
        self._answer, self._left = answer, after_bytes

    def __iter__(self) -> Any:
        for piece in self._answer.iter_raw():
            yield piece[: self._left]
            self._left -= len(piece)
            if self._left <= 0:
                raise httpx.ReadError("the line was cut")

    def close(self) -> None:
        self._answer.close()


async def test_a_download_that_breaks_off_goes_on_where_it_was(gateway: Gateway, tmp_path: Path) -> None:
    content = os.urandom(8 * MIB)
    artifact = await gateway.put(content)
    network = Breaking(3, after_bytes=2 * MIB + 1)
    target = tmp_path / "copy.bin"
    await using(gateway, lambda client: client.download(str(artifact.file_id), target), transport=network)
    assert target.read_bytes() == content
    ranges = [request.headers.get("range") for request in network.requests if "/download/" in request.url.path]
    assert len(ranges) == 4 and ranges[0] is None and all(ranges[1:])
    assert names(tmp_path) == ["copy.bin", "home"]


async def test_a_download_over_a_bad_line_goes_on_for_as_long_as_it_gets_on(gateway: Gateway, tmp_path: Path) -> None:
    """Patience is for a line that is dead, not for a file that is long."""
    content = os.urandom(MIB)
    artifact = await gateway.put(content)
    network = Breaking(6, after_bytes=MIB // 8)
    await using(
        gateway,
        lambda client: client.download(str(artifact.file_id), tmp_path / "copy.bin"),
        transport=network,
        # Less than the pauses in between take together.
        patience_seconds=0.5,
    )
    assert (tmp_path / "copy.bin").read_bytes() == content
    assert sum("/download/" in request.url.path for request in network.requests) == 7


async def test_a_request_that_failed_late_is_tried_again_all_the_same(gateway: Gateway, tmp_path: Path) -> None:
    """An upload may take longer than the patience before it fails."""
    (tmp_path / "note.md").write_text("text")
    network = Breaking(1)
    real = network.handle_request

    def slow(request: httpx.Request) -> httpx.Response:
        time.sleep(0.6)
        return real(request)

    network.handle_request = slow  # type: ignore[method-assign]
    await using(gateway, lambda client: client.ingest(tmp_path / "note.md"), transport=network, patience_seconds=0.5)
    assert len(network.requests) == 2


async def test_mistakes_of_the_caller_are_told_at_once(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    for address in ("localhost:8000", "htp://localhost"):
        with pytest.raises(httpx.UnsupportedProtocol), Client(address, "wb_x") as client:
            client.endpoints()
    with pytest.raises(httpx.LocalProtocolError), Client(gateway.url, "two\nlines") as client:
        client.endpoints()
    with Client(gateway.url) as client:
        for given in ({}, {"path": "report.pdf", "file_id": str(UUID(int=0))}):
            with pytest.raises(ValueError, match="either the path of a file or the file_id"):
                client.ingest(**given)
        with pytest.raises(IsADirectoryError, match="the path of the new file"):
            client.download(str(UUID(int=0)), tmp_path)
    assert pauses == [], "none of them was tried again"


async def test_a_key_as_it_was_read_from_its_file_works(gateway: Gateway) -> None:
    key = await gateway.key("read")
    assert await asyncio.to_thread(lambda: Client(gateway.url, f"{key}\n").endpoints()) == []


async def test_a_lost_answer_to_an_ingest_makes_no_second_run(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("text")
    network = Breaking(2)
    started = await using(gateway, lambda client: client.ingest(tmp_path / "note.md"), transport=network)
    assert len(network.requests) == 3
    async with get_client() as prefect:
        runs = await all_runs(prefect)
    source = f"waybill:{started['file_id']}/note.md"
    assert [str(run.id) for run in runs if run.parameters.get("sources") == [source]] == [started["task_id"]]


async def test_damage_is_told_and_nothing_is_kept_of_it(gateway: Gateway, tmp_path: Path) -> None:
    artifact = await gateway.put(b"as it should be")
    network = Breaking(0)
    real = network.handle_request

    def other(request: httpx.Request) -> httpx.Response:
        answer = real(request)
        return httpx.Response(200, content=b"something else.") if "/download/" in request.url.path else answer

    network.handle_request = other  # type: ignore[method-assign]
    with pytest.raises(Damaged):
        await using(
            gateway, lambda client: client.download(str(artifact.file_id), tmp_path / "copy"), transport=network
        )
    assert names(tmp_path) == ["home"]


async def test_refusals_are_told_at_once_and_outages_after_some_patience(gateway: Gateway) -> None:
    with pytest.raises(ApiError) as refused:
        await using(gateway, lambda client: client.share(str(UUID(int=0))), scopes=("read",))
    assert (refused.value.status, refused.value.code) == (403, "ScopeMissing")
    attempts: list[float] = []

    def away(request: httpx.Request) -> httpx.Response:
        attempts.append(1)
        return httpx.Response(503, text="a proxy's own page")

    with pytest.raises(ApiError) as tired:
        await using(
            gateway, lambda client: client.endpoints(), transport=httpx.MockTransport(away), patience_seconds=1.0
        )
    assert (tired.value.status, tired.value.code) == (503, "NoAnswerOfWaybill")
    assert 2 <= len(attempts) <= 6


async def test_an_export_is_one_job_and_is_downloaded_like_any_file(gateway: Gateway, tmp_path: Path) -> None:
    await gateway.put(b"content", name="report.pdf")

    def work(client: Client) -> None:
        job = client.export("artifacts", format="csv", idempotency_key="artifacts-1")
        assert client.export("artifacts", format="csv", idempotency_key="artifacts-1")["job_id"] == job["job_id"]
        assert client.wait_for_export(job["job_id"])["state"] == "completed"
        assert [one["job_id"] for one in client.exports(state="completed")] == [job["job_id"]]
        assert b"report.pdf" in client.download(job["file_id"], tmp_path / "artifacts.csv").read_bytes()
        assert client.remove_export(job["job_id"])["state"] == "deleted"
        with pytest.raises(ApiError) as gone:
            client.export_job(job["job_id"])
        assert (gone.value.status, gone.value.code) == (410, "ExportGone")

    await using(gateway, work)


async def test_search_and_documents(gateway: Gateway) -> None:
    indexed = document("The plough leaves at six.", "Grease every axle weekly.", title="Handbook")
    indexed = replace(indexed, facts=[Fact(fact_id="f1", type="time", statement="at six", quote="at six", score=0.5)])
    indexed = replace(indexed, entities=[Entity(text="six", type="number", count=1)], keywords=[Keyword(text="axle")])
    put(gateway.database_url, indexed)
    sha256 = indexed.head.sha256

    def work(client: Client) -> None:
        (hit,) = client.search("plough", language="en")["results"]
        assert hit["text"][slice(*hit["sentence"])] == "The plough leaves at six."
        assert client.search("plough", language="de", show_all=True)["nothing_close"]
        assert [entry["sha256"] for entry in client.documents(type="pdf")] == [sha256]
        assert client.document(sha256)["chunks"] == 2
        assert [chunk["ordinal"] for chunk in client.chunks(sha256)] == [0, 1]
        assert [fact["quote"] for fact in client.facts(sha256)] == ["at six"]
        assert [entity["text"] for entity in client.entities(sha256)] == ["six"]
        assert [keyword["text"] for keyword in client.keywords(sha256)] == ["axle"]
        with pytest.raises(ApiError) as refused:
            client.search("plough", langauge="de")
        assert refused.value.status == 422

    await using(gateway, work, scopes=("read",))
