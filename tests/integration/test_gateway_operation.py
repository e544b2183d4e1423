"""What watches over a gateway: health, readiness with each dependency by name, and metrics that Prometheus reads."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Running
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from blocks.catalog.keeping import hold
from blocks.errors import CatalogUnavailable, InvalidSettings, StorageFull, StorageUnavailable
from blocks.keys import add_identity, load_storage_keys
from blocks.postgres import connect
from blocks.runs.run_events import OUR_FLOWS
from blocks.settings import Settings
from blocks.storage import Blob
from blocks.storage.local import LocalBackend
from blocks.transfers import NewTransfer, create_transfer
from blocks.webhooks.outbox import Event, add_events
from blocks.webhooks.outbox import statistics as outbox_figures
from blocks.webhooks.outbox.queries import DISPATCHER_SESSION
from blocks.webhooks.outbox.statistics import events_since
from flows.process import process_documents
from tests.gateway import Gateway, error_of, running_gateway
from tests.integration.conftest import Workspace
from tests.integration.prefect_runs import new_run, process
from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway import readiness

NOWHERE = "http://127.0.0.1:9/api"


class Storage(LocalBackend):
    """A folder that does as a test says when it is looked at."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.error: Exception | None = None
        self.write_error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.looks = 0

    def publish(self, path: str, *arguments: Any, **options: Any) -> Blob:
        if self.write_error is not None:
            raise self.write_error
        return super().publish(path, *arguments, **options)

    def probe(self) -> None:
        self.looks += 1
        self.answers.wait(PATIENCE_SECONDS)
        if self.error is not None:
            raise self.error
        super().probe()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "store")


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path, storage: Storage) -> AsyncIterator[Gateway]:
    """Without Prefect."""
    async with running_gateway(database_url, tmp_path / "home", backend=storage) as running:
        yield running


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request looks anew."""
    monkeypatch.setattr(readiness, "_FRESH_SECONDS", 0.0)


async def ready(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    answer = await gateway.client.get("/ready")
    body = answer.json()
    assert body["status"] == ("ready" if answer.status_code == 200 else "not ready")
    assert list(body["checks"]) == ["database", "storage", "prefect"]
    assert answer.headers["cache-control"] == "private, no-store"
    for secret in (
        gateway.database_url,
        "/store",
        "127.0.0.1",
        "psycopg",
        "host=",
        str(gateway.resources.settings.home),
    ):
        assert secret not in answer.text
    return answer.status_code, body["checks"]


def conditions(checks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [check["status"] for check in checks.values()]


# Health and readiness -------------------------------------------------------------------------------------------------


async def test_health_asks_nobody_and_wants_no_key(gateway: Gateway, storage: Storage) -> None:
    storage.error = StorageUnavailable("away")
    for method in ("GET", "HEAD"):
        answer = await gateway.client.request(method, "/health")
        assert (answer.status_code, answer.content) == (200, b'{"status":"ok"}' if method == "GET" else b"")
    assert storage.looks == 0


async def test_ready_shows_whether_webhooks_are_sent(gateway: Gateway, at_once: None) -> None:
    assert (await gateway.client.get("/ready")).json()["dispatcher"] == "not running"
    with psycopg.connect(gateway.database_url, application_name=DISPATCHER_SESSION):
        answer = await gateway.client.get("/ready")
    assert (answer.status_code, answer.json()["dispatcher"]) == (200, "running")
    with database_away():
        assert (await gateway.client.get("/ready")).json()["dispatcher"] == "unknown"


async def test_ready_names_each_dependency_and_one_that_is_not_configured_is_no_failure(gateway: Gateway) -> None:
    status, checks = await ready(gateway)
    assert (status, conditions(checks)) == (200, ["ok", "ok", "not configured"])
    assert all(check["problem"] is None for check in checks.values())
    assert 0 < checks["database"]["milliseconds"] < 1000 * PATIENCE_SECONDS
    assert (await gateway.client.head("/ready")).status_code == 200


async def test_ready_asks_for_the_volume_when_the_stored_files_are_gone(
    gateway: Gateway, tmp_path: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_WRITE_SECONDS", 0.0)
    store, volume = tmp_path / "store", tmp_path / "volume"
    assert (await ready(gateway))[0] == 200, "nothing was stored yet"
    for content in (b"lost", b"kept"):
        await gateway.put(content)
    next(path for path in storage_files(store) if not path.name.endswith(".json")).unlink()
    assert (await ready(gateway))[0] == 200, "one of them is there"
    exchange(store, volume)
    status, checks = await ready(gateway)
    assert (status, checks["storage"]["status"]) == (503, "problem")
    assert "is its volume mounted?" in checks["storage"]["problem"]
    assert storage_files(store) == [], "nothing is written where the volume is missing"
    exchange(volume, store)
    assert (await ready(gateway))[0] == 200


def exchange(store: Path, volume: Path) -> None:
    """Have another, empty folder in the place of *store*, and its content in *volume*."""
    if volume.exists():
        shutil.rmtree(volume)
    store.rename(volume)
    store.mkdir()


def storage_files(store: Path) -> list[Path]:
    return [path for path in store.rglob("*") if path.is_file()]


async def test_ready_with_prefect(workspace: Workspace, prefect_server: str) -> None:
    await (await process_documents.ato_deployment(name="waybill")).apply()
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as gateway:
        status, checks = await ready(gateway)
        assert (status, conditions(checks)) == (200, ["ok", "ok", "ok"])
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=NOWHERE) as gateway:
        status, checks = await ready(gateway)
        assert (status, conditions(checks)) == (503, ["ok", "ok", "problem"])
        assert checks["prefect"]["problem"].startswith("Prefect does not answer")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StorageUnavailable("no answer from 10.1.2.3/store"), "the storage does not answer"),
        (InvalidSettings("secret key of /store"), "the storage cannot be used with these settings"),
        (RuntimeError("at /store"), "the storage failed"),
    ],
)
async def test_a_problem_is_told_without_what_is_for_the_log_only(
    gateway: Gateway, storage: Storage, at_once: None, caplog: pytest.LogCaptureFixture, error: Exception, told: str
) -> None:
    storage.error = error
    for _ in range(3):
        status, checks = await ready(gateway)
        assert (status, conditions(checks)) == (503, ["ok", "problem", "not configured"])
        assert checks["storage"]["problem"] == f"{told}; the gateway's log says more"
    assert len([line for line in caplog.messages if str(error) in line]) == 1
    storage.error = None
    assert (await ready(gateway))[0] == 200


async def test_a_database_that_is_read_only_is_not_ready_and_ready_again_without_a_restart(
    gateway: Gateway, at_once: None
) -> None:
    def alter(*statements: str) -> None:
        with connect(gateway.database_url, autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            for statement in statements:
                connection.execute(statement.encode())
            # Sessions keep what they began with.
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )

    async def becomes(status: int) -> Mapping[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await ready(gateway))[0] != status:  # noqa: ASYNC110 - nothing reports it
                await asyncio.sleep(0.05)
        return found[1]

    assert (await ready(gateway))[0] == 200
    try:
        # As on a read-only server, which this one is not, since other tests share it: each session begins so.
        alter(
            "create function read_only() returns event_trigger language plpgsql as "
            "$$ begin perform set_config('default_transaction_read_only', 'on', false); end $$",
            "create event trigger read_only on login execute function read_only()",
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The ended sessions are reported first.
            while "read-only" not in str((await becomes(503))["database"]["problem"]):  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.05)
    finally:
        alter("drop event trigger if exists read_only", "drop function if exists read_only")
    await becomes(200)


async def test_a_storage_that_takes_no_writes_is_not_ready_and_leaves_nothing(
    gateway: Gateway, storage: Storage, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ready(gateway))[0] == 200
    assert list(storage.paths()) == []
    storage.write_error = StorageFull("no room in /store")
    assert (await ready(gateway))[0] == 200  # it wrote a moment ago
    monkeypatch.setattr(readiness, "_WRITE_SECONDS", 0.0)
    for error, told in (
        (StorageFull("no room in /store"), "the storage is full"),
        (InvalidSettings("no right to write to /store"), "the storage cannot be used with these settings"),
        (StorageUnavailable("no answer from 10.1.2.3/store"), "the storage does not answer"),
    ):
        storage.write_error = error
        status, checks = await ready(gateway)
        assert (status, conditions(checks)) == (503, ["ok", "problem", "not configured"])
        assert checks["storage"]["problem"] == f"{told}; the gateway's log says more"
    storage.write_error = None
    assert (await ready(gateway))[0] == 200
    assert list(storage.paths()) == []


async def test_a_folder_with_little_room_left_is_not_ready(
    gateway: Gateway, storage: Storage, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.storage.local._ROOM_BYTES", 2**62)
    real = os.fstatvfs

    def nearly_full(descriptor: int) -> os.statvfs_result:
        values = list(real(descriptor))
        values[3] = values[4] = values[2] // 21  # free blocks, of all blocks
        return os.statvfs_result(values)

    monkeypatch.setattr(os, "fstatvfs", nearly_full)
    status, checks = await ready(gateway)
    assert (status, checks["storage"]["problem"]) == (503, "the storage is full; the gateway's log says more")
    monkeypatch.setattr(os, "fstatvfs", real)
    assert (await ready(gateway))[0] == 200


async def test_a_lost_key_is_not_ready_and_stores_nothing_until_it_is_back(
    database_url: str, tmp_path: Path, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.custody.custody.KEYS_FRESH_SECONDS", 0.0)
    home = tmp_path / "home"
    keys = load_storage_keys(Settings(home=home))
    async with running_gateway(database_url, home, keys=keys) as gateway:
        gateway.custody._reload_keys = partial(load_storage_keys, Settings(home=home), may_create=False)
        headers = await gateway.headers("write")

        async def upload() -> int:
            files = {"file": ("a.txt", b"A letter.\n")}
            return (await gateway.client.post("/api/v1/files/upload", files=files, headers=headers)).status_code

        assert ((await ready(gateway))[0], await upload()) == (200, 201)
        identity = home / "storage-identity"
        identity.rename(tmp_path / "kept")
        status, checks = await ready(gateway)
        assert (status, conditions(checks)) == (503, ["ok", "problem", "not configured"])
        assert checks["storage"]["problem"].startswith("the storage key is missing or cannot be used")
        assert await upload() == 503
        async with gateway.custody.catalog.transaction() as connection:
            assert (await gateway.custody.catalog.statistics(connection))["by_state"] == {"available": 1}
        (tmp_path / "kept").rename(identity)
        assert ((await ready(gateway))[0], await upload()) == (200, 201)
        # A rotation by another process: the next file is stored for the new key.
        added = add_identity(identity)
        assert await upload() == 201
        assert gateway.custody.keys.encrypted_for == added.recipient.text


async def test_what_hangs_is_waited_for_once_and_beside_the_others(
    gateway: Gateway, storage: Storage, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_SECONDS", 2.0)
    storage.answers.clear()
    began = time.monotonic()
    answers = await asyncio.gather(*(ready(gateway) for _ in range(50)))
    # One after another they would wait for a hundred seconds.
    assert 1.9 < time.monotonic() - began < 100.0
    assert {status for status, _ in answers} == {503}
    assert all("has not answered for" in checks["storage"]["problem"] for _, checks in answers)
    # The others answer meanwhile. A busy machine may let the database be late.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while conditions(answers[0][1]) != ["ok", "problem", "not configured"]:
            answers = [await ready(gateway)]
    # The look that hangs is not begun a second time, and nobody waits for it twice, which would take two seconds each.
    # A busy machine may be slow some times.
    async with asyncio.timeout(PATIENCE_SECONDS):
        took = 2.0
        while took >= 1.5:
            began = time.monotonic()
            assert (await ready(gateway))[0] == 503
            took = time.monotonic() - began
    assert storage.looks == 1
    storage.answers.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await ready(gateway))[0] != 200:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)


async def test_many_who_ask_at_once_cost_one_look(gateway: Gateway, storage: Storage) -> None:
    assert {status for status, _ in await asyncio.gather(*(ready(gateway) for _ in range(50)))} == {200}
    assert storage.looks == 1


async def test_a_database_that_was_never_migrated_is_not_ready(
    empty_database_url: str, tmp_path: Path, storage: Storage
) -> None:
    async with running_gateway(empty_database_url, tmp_path / "home", backend=storage) as gateway:
        status, checks = await ready(gateway)
        assert (status, conditions(checks)) == (503, ["problem", "ok", "not configured"])
        assert checks["database"]["problem"].startswith("the database cannot be used with these settings")


# Metrics --------------------------------------------------------------------------------------------------------------

Samples = dict[str, float]


async def scrape(gateway: Gateway) -> Samples:
    """Every sample by its name and labels as Prometheus writes them."""
    answer = await gateway.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            name = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert name not in found
            found[name] = sample.value
    return found


@pytest.fixture
async def watched(gateway: Gateway) -> Gateway:
    """The gateway, with a key of a scraper."""
    gateway.client.headers.update(await gateway.headers("read"))
    return gateway


@pytest.fixture
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is gathered for each request, with what was told a moment ago."""
    monkeypatch.setattr("waybill.gateway.statistics._FRESH_SECONDS", 0.0)
    monkeypatch.setattr(outbox_figures, "_COMMIT_DELAY", timedelta(0))


async def test_requests_are_counted_by_route_and_never_by_what_clients_make_up(watched: Gateway) -> None:
    artifact = await watched.put(b"x" * 1000)
    for _ in range(3):
        assert (await watched.client.get(watched.link(artifact))).status_code == 200
    assert (await watched.client.get(f"/api/v1/files/download/{uuid4()}")).status_code == 404
    for number in range(20):
        await watched.client.request(f"MADE{number}", f"/up/{number}")
        await watched.client.get(f"/made/up/{number}")
    found = await scrape(watched)
    route = "/api/v1/files/download/{file_id}"
    assert found[f"waybill_http_requests_total{{method=GET,route={route},status=200}}"] == 3
    assert found[f"waybill_http_requests_total{{method=GET,route={route},status=404}}"] == 1
    assert found["waybill_http_requests_total{method=GET,route=unknown,status=404}"] == 20
    assert found["waybill_http_requests_total{method=other,route=unknown,status=404}"] == 20
    assert found[f"waybill_http_response_bytes_total{{route={route}}}"] >= 3000
    assert found[f"waybill_http_request_seconds_count{{method=GET,route={route}}}"] == 4
    assert found[f"waybill_http_request_seconds_bucket{{le=+Inf,method=GET,route={route}}}"] == 4
    assert not [name for name in found if "made" in name.lower() or str(artifact.file_id) in name]
    assert not [name for name in found if "_created" in name], "twice as many series that nobody reads"


async def test_an_upload_whose_client_disconnects_counts_as_499(watched: Gateway) -> None:
    path = "/api/v1/files/upload"
    address = httpx.URL(watched.url)
    _, writer = await asyncio.open_connection(address.host, address.port)
    key = (await watched.headers("write"))["Authorization"]
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {key}\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode()
    )
    await writer.drain()
    writer.close()
    counted = f"waybill_http_requests_total{{method=POST,route={path},status="
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (statuses := [name for name in await scrape(watched) if name.startswith(counted)]):  # noqa: ASYNC110 - it is in the process under test
            await asyncio.sleep(0.02)
    assert statuses == [f"{counted}499}}"]


async def test_transfers_and_remote_workers_are_counted(watched: Gateway) -> None:
    async with watched.custody.catalog.connection() as connection:
        for name, seen, revoked in (("a", "0 s", None), ("b", "61 s", None), ("c", "0 s", "0 s")):
            await connection.execute(
                "insert into workers (name, recipient, enrolled_by, last_seen_at, revoked_at)"
                " values (%s, %s, 'a test', now() - %s::interval, now() - %s::interval)",
                [name, f"age1{name}", seen, revoked],
            )
        new = NewTransfer(
            direction="upload", filename="a", media_type="text/plain", sealed_for="unknown", size=100,
            lasts=timedelta(hours=1), requested_by="a test",
        )  # fmt: skip
        upload = await create_transfer(connection, new)
        await connection.execute(
            "update transfers set state = 'in_progress', done_bytes = 30 where transfer_id = %s", [upload.transfer_id]
        )
    found = await scrape(watched)
    assert found["waybill_transfers_open{direction=upload}"] == 1
    assert found["waybill_transfers_open{direction=download}"] == 0
    assert found["waybill_transfers_left_bytes{direction=upload}"] == 70
    states = ("present", "absent", "revoked")
    assert [found[f"waybill_remote_workers{{state={state}}}"] for state in states] == [1, 1, 1]
    assert found["waybill_assignments_waiting"] == 0


async def test_custody_is_told_by_kind_with_what_goes_soon(watched: Gateway, unsettled: None) -> None:
    first = await watched.put(b"a" * 1000, keep_for=timedelta(hours=2))
    await watched.put(b"b" * 10, keep_for=timedelta(days=9))
    pinned = await watched.put(b"c", keep_for=timedelta(hours=1))
    gone = await watched.put(b"d", keep_for=timedelta(hours=1))
    held = await watched.put(b"f", keep_for=timedelta(hours=1))
    damaged = await watched.put(b"e", kind="export", keep_for=timedelta(days=9))
    async with watched.custody.catalog.connection() as connection:
        await watched.custody.catalog.pin(connection, pinned.file_id)
        await hold(connection, held.file_id)
        await connection.execute("update artifacts set expires_at = now() where file_id = %s", [gone.file_id])
        await connection.execute(
            "update artifacts set damaged_at = now(), damage = 'a flip' where file_id = %s", [damaged.file_id]
        )
        await connection.execute("update artifacts set state = 'deleting' where file_id = %s", [first.file_id])
    found = await scrape(watched)
    stored = sum(watched.stored(one).stat().st_size for one in (pinned, gone, held)) + first.stored_size - 990
    assert found["waybill_custody_files{kind=upload}"] == 4
    assert found["waybill_custody_bytes{kind=upload}"] == pytest.approx(stored, abs=50)
    assert found["waybill_custody_files{kind=export}"] == 1
    assert found["waybill_custody_files{kind=stage_output}"] == found["waybill_custody_bytes{kind=stage_output}"] == 0
    assert found["waybill_files_pinned"] == found["waybill_files_held"] == 1
    assert found["waybill_files_expired_not_removed"] == 1
    assert found["waybill_files_expiring_next_day"] == 0
    assert found["waybill_files_damaged"] == 1
    assert found["waybill_files_unfinished{state=deleting}"] == 1
    assert found["waybill_files_unfinished{state=pending}"] == 0


def stage_event(kind: str, stage: str, *, reused: bool = False, text: str = "") -> Event:
    return Event(
        event_id=f"evt_{uuid4()}",
        event_type=kind,
        task_id=uuid4(),
        source_file="a.pdf",
        occurred_at=datetime.now(UTC),
        data={
            "stage": {"number": 3, "name": stage, "status": "completed", "execution_time": 0.25},
            "context": {"reused": reused},
            "metadata": {"text": text},
        },
    )


async def test_stages_and_events_are_counted_once_each_as_they_come(watched: Gateway, unsettled: None) -> None:
    async def tell(*events: Event) -> None:
        async with watched.custody.catalog.transaction() as connection:
            await add_events(connection, events, lambda event_id: f"http://x/{event_id}")

    await tell(stage_event("stage_completed", "chunker"))
    assert "waybill_stages_total{outcome=completed,stage=chunker}" not in await scrape(watched), "before it was watched"
    await tell(
        stage_event("stage_completed", "chunker"),
        stage_event("stage_completed", "chunker", reused=True, text="\0 and \\u0000 and \\\0 and \ud800"),
        stage_event("stage_completed", "chunker", text="too long to be sent " * 2000),
        stage_event("stage_failed", "custody"),
    )
    for _ in range(3):
        found = await scrape(watched)
        assert found["waybill_stages_total{outcome=completed,stage=chunker}"] == 2
        assert found["waybill_stages_total{outcome=reused,stage=chunker}"] == 1
        assert found["waybill_stages_total{outcome=failed,stage=custody}"] == 1
        assert found["waybill_stage_seconds_total{stage=chunker}"] == 0.75
        assert found["waybill_events_total{event_type=stage_completed}"] == 3
    await tell(stage_event("stage_completed", "chunker"))
    assert (await scrape(watched))["waybill_stages_total{outcome=completed,stage=chunker}"] == 3


async def test_an_event_is_in_exactly_one_of_the_periods_that_follow_one_another(
    watched: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_figures, "_COMMIT_DELAY", timedelta(seconds=0.2))
    catalog = watched.custody.catalog
    async with catalog.connection() as connection:
        counts, until = await events_since(connection, None)
        assert counts == []
    counted, told, ending = 0, 0, time.monotonic() + 1.5
    async with catalog.connection() as writing, catalog.connection() as reading:
        while time.monotonic() < ending or told <= 10:
            await add_events(writing, [stage_event("stage_completed", "chunker")], lambda _: None)
            told += 1
            counts, until = await events_since(reading, until)
            counted += sum(count.events for count in counts)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while counted < told:
                counts, until = await events_since(reading, until)
                counted += sum(count.events for count in counts)
        assert counted == told > 10
        # Whoever has not looked for long is not given the whole past.
        monkeypatch.setattr(outbox_figures, "MAX_PERIOD", timedelta(0))
        assert (await events_since(reading, until - timedelta(hours=1)))[0] == []


async def test_deliveries_are_told_with_what_is_late(watched: Gateway, unsettled: None) -> None:
    found = await scrape(watched)
    assert found["waybill_webhook_deliveries{state=pending}"] == found["waybill_webhook_overdue_seconds"] == 0
    with psycopg.connect(watched.database_url) as connection:
        connection.execute(
            """
            insert into webhook_secrets (secret_id, sealed) values (gen_random_uuid(), '');
            insert into webhook_endpoints (endpoint_id, origin, url, secret_id, held_until, held_because)
            select gen_random_uuid(), 'registered', url, secret_id, held, case when held is not null then 'it fails' end
              from webhook_secrets,
                   (values ('https://a', null), ('https://b', now() + interval '1 h')) as e (url, held);
            insert into webhook_events (event_id, event_type, occurred_at, body) values ('evt_1', 'x', now(), '{}');
            insert into webhook_deliveries (event_id, endpoint_id, created_at, due_at)
            select 'evt_1', endpoint_id, now() - interval '1 day',
                   now() - case url when 'https://a' then interval '90 s' else interval '9 h' end
              from webhook_endpoints
            """
        )
    found = await scrape(watched)
    assert found["waybill_webhook_deliveries{state=pending}"] == 2
    assert found["waybill_webhook_deliveries{state=delivered}"] == found["waybill_webhook_deliveries{state=dead}"] == 0
    assert found["waybill_webhook_oldest_pending_seconds"] == pytest.approx(86400, abs=60)
    # What is held is not late.
    assert found["waybill_webhook_overdue_seconds"] == pytest.approx(90, abs=60)
    assert found["waybill_webhook_endpoints{state=enabled}"] == found["waybill_webhook_endpoints{state=held}"] == 1


async def counted(client: PrefectClient, *states: StateType) -> list[int]:
    ours = FlowFilter(name=FlowFilterName(any_=list(OUR_FLOWS)))
    found: list[int] = []
    for state in states:
        these = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[state])))
        found.append(await client.count_flow_runs(flow_filter=ours, flow_run_filter=these))
    return found


async def test_runs_are_those_that_prefect_counts(workspace: Workspace, prefect_server: str, unsettled: None) -> None:
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as gateway:
        gateway.client.headers.update(await gateway.headers("read"))
        await process(workspace.write("a.txt", "Some words."))
        async with get_client() as client, asyncio.timeout(PATIENCE_SECONDS):
            await new_run(client, Running())
            # Runs of earlier tests may change their states at any time, so what lies between two equal counts counts.
            while True:
                before = await counted(client, StateType.RUNNING, StateType.COMPLETED)
                found = await scrape(gateway)
                if before == await counted(client, StateType.RUNNING, StateType.COMPLETED):
                    break
        assert min(before) >= 1
        assert [found["waybill_runs{state=running}"], found["waybill_runs{state=completed}"]] == before
        assert found["waybill_up{dependency=prefect}"] == 1


async def test_each_application_counts_for_itself_and_the_global_registry_stays_clean(
    watched: Gateway, database_url: str, tmp_path: Path
) -> None:
    async with running_gateway(database_url, tmp_path / "other") as other:
        await other.client.get("/health")
        assert "waybill_http_requests_total{method=GET,route=/health,status=200}" not in await scrape(watched)
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("waybill")]


async def test_metrics_want_the_scope_read(gateway: Gateway) -> None:
    answer = await gateway.client.get("/metrics")
    assert (answer.status_code, error_of(answer)) == (401, "NotAuthenticated")
    answer = await gateway.client.get("/metrics", headers=await gateway.headers("write"))
    assert (answer.status_code, error_of(answer)) == (403, "ScopeMissing")


async def test_what_is_away_is_told_as_down_and_the_rest_as_it_is(
    watched: Gateway, storage: Storage, at_once: None, unsettled: None
) -> None:
    found = await scrape(watched)
    assert found["waybill_up{dependency=database}"] == found["waybill_up{dependency=storage}"] == 1
    assert "waybill_up{dependency=prefect}" not in found
    stranger = await watched.headers("read")

    storage.error = StorageUnavailable("away")

    with database_away():
        found = await scrape(watched)
        assert found["waybill_up{dependency=database}"] == found["waybill_up{dependency=storage}"] == 0
        assert found["waybill_http_requests_total{method=GET,route=/metrics,status=200}"] == 1
        assert not [name for name in found if name.startswith(("waybill_custody", "waybill_webhook", "waybill_stages"))]
        # Whoever was not known before stays outside.
        answer = await watched.client.get("/metrics", headers=stranger)
        assert (answer.status_code, error_of(answer)) == (503, "CatalogUnavailable")
        answer = await watched.client.get("/metrics", headers={"Authorization": "Bearer nonsense"})
        assert answer.status_code == 401
    found = await scrape(watched)
    assert found["waybill_up{dependency=database}"] == 1
    assert "waybill_custody_files{kind=upload}" in found


@contextmanager
def database_away() -> Iterator[None]:
    async def away(*_: Any, **__: Any) -> None:
        raise CatalogUnavailable("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psycopg_pool.AsyncConnectionPool.getconn", away)
        yield


async def test_a_revoked_key_is_let_in_no_more(
    watched: Gateway, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    await scrape(watched)
    with psycopg.connect(watched.database_url) as connection:
        connection.execute("update api_keys set revoked_at = now()")
    assert (await watched.client.get("/metrics")).status_code == 401
    with database_away():
        assert (await watched.client.get("/metrics")).status_code == 503


async def test_every_metric_is_on_the_page_about_monitoring(
    workspace: Workspace, prefect_server: str, unsettled: None
) -> None:
    page = Path("docs/monitoring.md").read_text()  # noqa: ASYNC240 - a test's own
    documented = {
        (name, tuple(sorted(labels.split(","))) if labels else ())
        for name, labels in re.findall(r"^\| `(waybill_\w+)(?:\{([\w,]+)\})?` \| \w+ \|", page, re.MULTILINE)
    }
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as gateway:
        gateway.client.headers.update(await gateway.headers("read"))
        await scrape(gateway)
        async with gateway.custody.catalog.transaction() as connection:
            await add_events(connection, [stage_event("stage_completed", "chunker")], lambda _: None)
        found = await scrape(gateway)
    told: set[tuple[str, tuple[str, ...]]] = set()
    for sample in found:
        name, labels = re.fullmatch(r"(\w+)(?:\{(.*)\})?", sample).groups("")  # type: ignore[union-attr]
        names = {part.partition("=")[0] for part in labels.split(",") if part} - {"le"}
        if name.startswith("waybill_"):
            told.add((re.sub(r"(_seconds)_(bucket|count|sum)$", r"\1", name), tuple(sorted(names))))
    assert told == documented
    assert set(re.findall(r"waybill_[a-z]\w+", page)) - {name for name, _ in documented} <= {
        "waybill_http_request_seconds_bucket"
    }


async def test_readiness_and_metrics_are_in_the_description(gateway: Gateway) -> None:
    paths = (await gateway.client.get("/api/v1/openapi.json")).json()["paths"]
    responses = paths["/ready"]["get"]["responses"]
    assert responses["200"]["content"] == responses["503"]["content"]
    assert list(paths["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
    assert isinstance(gateway.client, httpx.AsyncClient)
