"""The outbox in a real Postgres: what is recorded, for whom, once; who may send; what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from blocks.catalog import Catalog, Connection
from blocks.errors import EndpointNotFound, EventNotFound, InvalidSettings, InvalidWebhookUrl
from blocks.postgres import fetch_all
from blocks.settings import Settings
from blocks.webhooks import endpoint_queries
from blocks.webhooks import endpoints as book
from blocks.webhooks import registration as registry
from blocks.webhooks.outbox import (
    Event,
    Late,
    add_event_for,
    add_events,
    computed_event_id,
    deliveries,
    delivery_log,
    list_deliveries,
    queries,
    recent_events,
    whole_body,
)
from blocks.webhooks.outbox.delivery_log import count_waiting
from blocks.webhooks.outbox.event import MAX_BODY_BYTES
from blocks.webhooks.outbox.statistics import events_since
from blocks.webhooks.secrets import SecretBox, secret_bytes
from tests.stack_driver import PATIENCE_SECONDS

LEASE = timedelta(seconds=15)


def link(event_id: str) -> str:
    return f"http://gateway.example/{event_id}"


def event(name: str = "stage_completed", *, run: UUID | None = None, number: object = 0, **data: object) -> Event:
    return Event(
        event_id=computed_event_id(run, name, number),
        event_type=name,
        task_id=run,
        source_file="report.pdf",
        occurred_at=datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC),
        data=data,
    )


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


@pytest.fixture
def box(tmp_path: Path) -> SecretBox:
    return SecretBox.of(Settings(home=tmp_path / "home"))


async def test_an_event_goes_once_to_every_endpoint_that_wants_it(catalog: Catalog, box: SecretBox) -> None:
    run = uuid4()
    async with catalog.transaction() as connection:
        everything = await registry.register(connection, box, url="https://a.example/all")
        some = await registry.register(connection, box, url="https://b.example/", event_types=["task_failed"])
        await registry.set_run_webhook(connection, box, run_id=run, url="https://c.example/run")
        await registry.set_run_webhook(connection, box, run_id=run, url="https://c.example/run")
    async with catalog.connection() as connection:
        assert await add_events(connection, [event(run=run), event(run=run, number=1)], link) == 2
        assert await add_events(connection, [event(run=run), event("task_failed", run=uuid4())], link) == 1
        page = await list_deliveries(connection)
        assert await count_waiting(connection, run) == 4
        assert await count_waiting(connection, uuid4()) == 0
        urls = sorted((one.event_type, one.url) for one in page.deliveries)
        listed = {one.url: one for one in await book.list_endpoints(connection)}
    assert urls == [
        ("stage_completed", "https://a.example/all"),
        ("stage_completed", "https://a.example/all"),
        ("stage_completed", "https://c.example/run"),
        ("stage_completed", "https://c.example/run"),
        ("task_failed", "https://a.example/all"),
        ("task_failed", "https://b.example/"),
    ]
    assert {url: one.pending for url, one in listed.items()} == {
        everything.endpoint.url: 3, some.endpoint.url: 1, "https://c.example/run": 2,
    }  # fmt: skip


async def test_a_success_that_no_endpoint_wants_is_recorded_in_short_and_one_that_is_wanted_whole(
    catalog: Catalog, box: SecretBox
) -> None:
    run, run_with_webhook = uuid4(), uuid4()
    data = {
        "stage": {
            "number": 1,
            "name": "converter",
            "status": "completed",
            "execution_time": 0.5,
            "error_message": None,
        },
        "output_files": [{"filename": "report.md"}],
        "metadata": {"pages": 3},
        "context": {"document_sha256": "a" * 64, "document": "report.pdf", "reused": True, "source_metadata": {"a": 1}},
        "sequence": 7,
    }
    short = {
        "stage": {"name": "converter", "execution_time": 0.5},
        "context": {"document_sha256": "a" * 64, "reused": True},
    }
    failure = {**data, "stage": {**data["stage"], "status": "failed"}}
    chain = {"overall_success": False, "stages": [failure["stage"]], "metadata": {"error_message": "it failed"}}
    async with catalog.connection() as connection:
        await registry.set_run_webhook(connection, box, run_id=run_with_webhook, url="https://c.example/run")
        await registry.register(connection, box, url="https://b.example/", event_types=["task_failed"])
        await add_events(
            connection,
            [
                event(run=run, **data),
                event(run=run_with_webhook, **data),
                event("stage_failed", run=run, **failure),
                event("stage_chain_completed", run=run, **chain),
                event("stage_chain_completed", run=run, number=1, overall_success=True, stages=["x" * 100] * 300),
            ],
            link,
        )
        found = {(one.event_type, one.task_id, len(one.body)): one for one in await recent_events(connection, LEASE)}
        bodies = [(one.event_type, one.task_id, json.loads(one.body)["data"]) for one in found.values()]
        waiting = [await count_waiting(connection, one) for one in (run, run_with_webhook)]
    assert waiting == [0, 1]
    assert sorted(bodies, key=str) == sorted(
        [
            ("stage_completed", run, short),
            ("stage_completed", run_with_webhook, data),
            ("stage_failed", run, failure),
            ("stage_chain_completed", run, chain),
            ("stage_chain_completed", run, {"overall_success": True}),
        ],
        key=str,
    )


async def test_a_short_body_is_counted_like_a_whole_one(catalog: Catalog, box: SecretBox) -> None:
    stage = {"name": "converter", "execution_time": 0.5}
    context = {"reused": False, "source_metadata": {}}
    async with catalog.connection() as connection:
        _, since = await events_since(connection, None)
        await add_events(connection, [event(number=1, stage=stage, context=context)], link)
        await registry.register(connection, box, url="https://a.example/all")
        await add_events(connection, [event(number=2, stage=stage, context=context)], link)
        await connection.execute("update webhook_events set recorded_at = recorded_at - interval '1 minute'")
        counts, _ = await events_since(connection, since - timedelta(minutes=2))
    assert [(one.stage, one.reused, one.events, one.seconds) for one in counts] == [("converter", False, 2, 1.0)]


async def test_a_body_that_no_endpoint_wants_is_never_rendered(catalog: Catalog, box: SecretBox) -> None:
    links: list[str] = []

    def sign() -> str:
        links.append("http://gateway.example/file")
        return links[-1]

    def one(number: int) -> Event:
        return event(number=number, output_files=[{"download_url": Late(sign)}], metadata={"title": "a"})

    async with catalog.connection() as connection:
        await add_events(connection, [one(1)], link)
        assert links == []
        await registry.register(connection, box, url="https://a.example/failures", event_types=["stage_failed"])
        await add_events(connection, [one(2)], link)
        assert links == []
        await registry.register(connection, box, url="https://a.example/all")
        await add_events(connection, [one(3)], link)
        (last, *_) = await recent_events(connection, timedelta(hours=1))
    assert last.as_json()["data"]["output_files"] == [{"download_url": "http://gateway.example/file"}]
    assert len(links) == 1


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_an_endpoint_that_is_added_after_the_look_gets_whole_bodies(
    catalog: Catalog, box: SecretBox, monkeypatch: pytest.MonkeyPatch, in_transaction: bool
) -> None:
    async def look(connection: Connection, statement: str, values: Mapping[str, object]) -> list[Any]:
        found = await fetch_all(connection, statement, values)
        if statement == queries.WANTED and not found:
            async with catalog.connection() as another:
                await registry.register(another, box, url="https://a.example/all")
        return found

    monkeypatch.setattr("blocks.webhooks.outbox.outbox.fetch_all", look)
    run = uuid4()
    opened = catalog.transaction() if in_transaction else catalog.connection()
    async with opened as connection:
        for number in range(2):
            assert await add_events(connection, [event(run=run, number=number, metadata={"title": "a"})], link) == 1
    async with catalog.connection() as connection:
        recorded = await recent_events(connection, timedelta(hours=1))
        assert await count_waiting(connection, run) == 2
    assert [one.as_json()["data"] for one in recorded] == [{"metadata": {"title": "a"}}] * 2


async def test_what_happened_and_that_it_is_told_commit_together_or_not_at_all(catalog: Catalog) -> None:
    with pytest.raises(RuntimeError):
        async with catalog.transaction() as connection:
            await add_events(connection, [event()], link)
            raise RuntimeError("the caller fails")
    async with catalog.connection() as connection:
        assert await recent_events(connection, timedelta(hours=1)) == []


async def test_the_body_is_the_contract_and_a_long_one_becomes_a_link_to_the_whole(
    catalog: Catalog, box: SecretBox
) -> None:
    run = uuid4()
    long = event("stage_chain_completed", run=run, overall_success=True, stages=["x" * 100] * 300)
    async with catalog.connection() as connection:
        await registry.register(connection, box, url="https://a.example/all")
        await add_events(connection, [event(run=run, note="short \ud800"), long], link)
        by_type = {one.event_type: one for one in await recent_events(connection, timedelta(hours=1))}
        whole = json.loads(await whole_body(connection, long.event_id))
        with pytest.raises(EventNotFound):
            await whole_body(connection, "evt_unknown")
    short = json.loads(by_type["stage_completed"].body)
    assert short == {
        "event_type": "stage_completed",
        "timestamp": "2026-01-02T03:04:05.600000Z",
        "task_id": str(run),
        "source_file": "report.pdf",
        "data": {"note": "short \N{REPLACEMENT CHARACTER}"},
    }
    thin = by_type["stage_chain_completed"].body
    assert len(thin) < MAX_BODY_BYTES
    data = json.loads(thin)["data"]
    assert data.pop("payload_bytes") > MAX_BODY_BYTES
    assert data == {"overall_success": True, "thinned": True, "payload_url": link(long.event_id)}
    assert len(whole["data"]["stages"]) == 300


@pytest.mark.parametrize("origin", ["registered", "run"])
@pytest.mark.parametrize("first", ["event", "removal"])
async def test_nothing_waits_for_an_endpoint_that_is_removed_while_events_are_added(
    catalog: Catalog, box: SecretBox, origin: str, first: str
) -> None:
    run = uuid4()
    async with catalog.transaction() as connection:
        if origin == "run":
            await registry.set_run_webhook(connection, box, run_id=run, url="https://a.example/")
        else:
            await registry.register(connection, box, url="https://a.example/")
        endpoint_id = (await book.list_endpoints(connection))[0].endpoint_id

    async def add(connection: Connection) -> None:
        await add_events(connection, [event(run=run)], link)

    async def remove(connection: Connection) -> None:
        await book.remove_endpoint(connection, endpoint_id)

    async def later(work: Callable[[Connection], Awaitable[None]]) -> None:
        async with catalog.transaction() as connection:
            await work(connection)

    begins, follows = (add, remove) if first == "event" else (remove, add)
    async with catalog.transaction() as connection:
        await begins(connection)
        following = asyncio.create_task(later(follows))
        await _someone_waits(catalog)
    await following
    async with catalog.connection() as connection:
        states = [one.state for one in (await list_deliveries(connection)).deliveries]
        assert states == (["dead"] if first == "event" else [])
        assert len(await recent_events(connection, timedelta(hours=1))) == 1


async def _someone_waits(catalog: Catalog) -> None:
    """For a lock of another transaction in this database."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with catalog.connection() as connection:
                cursor = await connection.execute(
                    "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
                )
                if await cursor.fetchone():
                    return
            await asyncio.sleep(0.02)


async def test_an_address_that_is_taken_or_too_long_is_refused_and_waited_for_by_nobody(
    catalog: Catalog, box: SecretBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with catalog.transaction() as connection:
        with pytest.raises(InvalidWebhookUrl):
            await registry.set_run_webhook(connection, box, run_id=uuid4(), url="https://a.example/" + "x" * 2048)
        await registry.set_run_webhook(connection, box, run_id=uuid4(), url="https://a.example/")
        # Two addresses with one MD5 sum can be made, and only one of them can be kept.
        other = endpoint_queries.RUN_ENDPOINT.replace("and url = %(url)s", "and url <> %(url)s")
        monkeypatch.setattr(endpoint_queries, "RUN_ENDPOINT", other)
        with pytest.raises(InvalidWebhookUrl):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await registry.set_run_webhook(connection, box, run_id=uuid4(), url="https://a.example/")


async def test_one_owner_at_a_time_sends_to_an_endpoint(catalog: Catalog, box: SecretBox) -> None:
    first, second = uuid4(), uuid4()
    async with catalog.connection() as connection:
        endpoint = (await registry.register(connection, box, url="https://a.example/")).endpoint
        assert await deliveries.acquire(connection, first, lease=LEASE, limit=10) == []  # nothing is due
        await add_events(connection, [event(number=number) for number in range(5)], link)
        (held,) = await deliveries.acquire(connection, first, lease=LEASE, limit=10)
        assert held.endpoint_id == endpoint.endpoint_id
        assert await deliveries.acquire(connection, second, lease=LEASE, limit=10) == []
        room = {endpoint.endpoint_id: 3}
        batch = await deliveries.due(connection, first, room, busy=[])
        assert len(batch) == 3
        rest = await deliveries.due(connection, first, room, busy=[one.delivery_id for one in batch])
        assert len(rest) == 2
        assert await deliveries.due(connection, second, room, busy=[]) == []
        assert await deliveries.renew(connection, second, [endpoint.endpoint_id], lease=LEASE) == []
        assert len(await deliveries.renew(connection, first, [endpoint.endpoint_id], lease=timedelta(0))) == 1
        assert len(await deliveries.acquire(connection, second, lease=LEASE, limit=10)) == 1  # the lease has lapsed
        await deliveries.release(connection, first, [endpoint.endpoint_id])  # no longer its to give back
        assert len(await deliveries.renew(connection, second, [endpoint.endpoint_id], lease=LEASE)) == 1


@pytest.mark.parametrize("until", ["infinity", "2999-01-01", "-infinity"])
async def test_a_lease_that_was_taken_while_the_clock_was_ahead_keeps_no_endpoint(
    catalog: Catalog, box: SecretBox, until: str
) -> None:
    async with catalog.connection() as connection:
        await registry.register(connection, box, url="https://a.example/")
        await add_events(connection, [event()], link)
        await deliveries.acquire(connection, uuid4(), lease=LEASE, limit=10)
        await connection.execute("update webhook_endpoints set owned_until = %(until)s", {"until": until})
        assert await deliveries.has_deliverable(connection, uuid4(), without=[])
        assert len(await deliveries.acquire(connection, uuid4(), lease=LEASE, limit=10)) == 1


def outcome(delivery: deliveries.DueDelivery, state: deliveries.DeliveryState, **told: object) -> deliveries.Outcome:
    values: dict[str, object] = {
        "pause": timedelta(0), "milliseconds": 12.5, "status": 200, "peer": "203.0.113.7:443", "error": None,
        "answer": "ok", "started_at": datetime.now(UTC),
    }  # fmt: skip
    return deliveries.Outcome(delivery_id=delivery.delivery_id, state=state, **{**values, **told})  # type: ignore[arg-type]


async def test_outcomes_are_logged_and_dead_ones_can_be_replayed(catalog: Catalog, box: SecretBox) -> None:
    owner = uuid4()
    async with catalog.connection() as connection:
        endpoint = (await registry.register(connection, box, url="https://a.example/")).endpoint
        await add_events(connection, [event(number=number) for number in range(3)], link)
        await deliveries.acquire(connection, owner, lease=LEASE, limit=10)
        room = {endpoint.endpoint_id: 10}
        good, later, bad = await deliveries.due(connection, owner, room, busy=[])
        failed = {"status": 500, "error": "HTTP 500"}
        await deliveries.record_outcomes(
            connection,
            [
                outcome(good, "delivered"),
                outcome(later, "pending", pause=timedelta(minutes=5), **failed),
                outcome(bad, "dead", **failed),
            ],
        )
        # Told twice, by an owner that was slow: what is settled stays settled.
        await deliveries.record_outcomes(connection, [outcome(good, "dead", **failed)])
        assert await deliveries.due(connection, owner, room, busy=[]) == []
        states = {one.delivery_id: one for one in (await list_deliveries(connection)).deliveries}
        assert states[good.delivery_id].state == "delivered"
        assert (states[later.delivery_id].state, states[later.delivery_id].attempts) == ("pending", 1)
        assert (await list_deliveries(connection, state="dead")).deliveries[0].last_error == "HTTP 500"
        assert len(await delivery_log.attempts_of(connection, bad.delivery_id)) == 1
        assert await delivery_log.replay(connection, endpoint_id=endpoint.endpoint_id) == 1
        (again,) = await deliveries.due(connection, owner, room, busy=[])
        assert (again.delivery_id, again.event_id, again.body) == (bad.delivery_id, bad.event_id, bad.body)
        assert again.attempts == 0
        assert await deliveries.has_due(connection, within=timedelta(0))
        assert await deliveries.has_deliverable(connection, owner, without=[])
        assert not await deliveries.has_deliverable(connection, owner, without=[endpoint.endpoint_id])
        assert not await deliveries.has_deliverable(connection, uuid4(), without=[]), "its owner sends it"
        assert not await deliveries.has_deliverable(connection, owner, without=[], task_id=uuid4())
        counts = await delivery_log.delivery_counts(connection)
    assert {state: count["count"] for state, count in counts.items()} == {"delivered": 1, "pending": 2}


async def test_a_hold_and_a_disabled_endpoint_keep_what_is_due(catalog: Catalog, box: SecretBox) -> None:
    owner = uuid4()
    async with catalog.connection() as connection:
        endpoint_id = (await registry.register(connection, box, url="https://a.example/")).endpoint.endpoint_id
        await add_events(connection, [event()], link)
        await deliveries.acquire(connection, owner, lease=LEASE, limit=10)
        room = {endpoint_id: 1}
        await deliveries.mark_unhealthy(connection, endpoint_id, failures=1, pause=None, because="HTTP 500")
        assert len(await deliveries.due(connection, owner, room, busy=[])) == 1
        await deliveries.mark_unhealthy(
            connection, endpoint_id, failures=2, pause=timedelta(hours=1), because="asked for patience"
        )
        assert await deliveries.due(connection, owner, room, busy=[]) == []
        held = await book.get_endpoint(connection, endpoint_id)
        assert held.held_because == "asked for patience"
        # What failed at one address says nothing about another.
        same = {"event_types": None, "description": "x"}
        await book.change_endpoint(connection, endpoint_id, url="https://a.example/", **same)
        assert (await book.get_endpoint(connection, endpoint_id)).failures == 2
        await book.change_endpoint(connection, endpoint_id, url="https://moved.example/", **same)
        assert (await book.get_endpoint(connection, endpoint_id)).failures == 0
        assert len(await deliveries.due(connection, owner, room, busy=[])) == 1
        await deliveries.mark_unhealthy(connection, endpoint_id, failures=2, pause=timedelta(hours=1), because="again")
        await deliveries.mark_healthy(connection, [endpoint_id])
        assert len(await deliveries.due(connection, owner, room, busy=[])) == 1
        await book.disable_endpoint(connection, endpoint_id, "HTTP 410")
        assert await deliveries.due(connection, owner, room, busy=[]) == []
        await add_events(connection, [event(number=1)], link)
        await book.enable_endpoint(connection, endpoint_id)
        assert len(await deliveries.due(connection, owner, {endpoint_id: 9}, busy=[])) == 2
        assert await book.remove_endpoint(connection, endpoint_id) == 2
        assert {one.state for one in (await list_deliveries(connection)).deliveries} == {"dead"}
        assert await book.list_endpoints(connection) == []
        with pytest.raises(EndpointNotFound):
            await book.enable_endpoint(connection, endpoint_id)


async def test_dispatchers_are_told_at_the_commit(catalog: Catalog, box: SecretBox, database_url: str) -> None:
    async with catalog.connection() as connection:
        endpoint_id = (await registry.register(connection, box, url="https://a.example/")).endpoint.endpoint_id
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("listen waybill_webhooks")
        async with catalog.connection() as connection:
            await add_events(connection, [event(), event(number=1)], link)
        notes = list(listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1))
    assert [note.payload for note in notes] == [str(endpoint_id)]


async def test_a_test_event_goes_to_its_endpoint_only(catalog: Catalog, box: SecretBox) -> None:
    async with catalog.connection() as connection:
        await registry.register(connection, box, url="https://a.example/")
        picky = (
            await registry.register(connection, box, url="https://b.example/", event_types=["task_failed"])
        ).endpoint
        delivery_id = await add_event_for(connection, event("webhook_test"), picky.endpoint_id, link)
        (only,) = (await list_deliveries(connection)).deliveries
    assert (only.delivery_id, only.endpoint_id) == (delivery_id, picky.endpoint_id)


async def test_secrets_lie_sealed_and_a_rotation_signs_with_two_for_a_while(
    catalog: Catalog, box: SecretBox, database_url: str, tmp_path: Path
) -> None:
    async with catalog.connection() as connection:
        made = await registry.register(connection, box, url="https://a.example/")
        secret_id = made.endpoint.secret_id
        assert secret_id is not None
        rotated = await registry.rotate(connection, box, secret_id)
        keys = await registry.signing_keys(connection, box, [secret_id])
        assert keys[secret_id] == (secret_bytes(rotated.secret), secret_bytes(made.secret))
        over = await registry.rotate(connection, box, secret_id, overlap=timedelta(0))
        assert (await registry.signing_keys(connection, box, [secret_id]))[secret_id] == (secret_bytes(over.secret),)
        shared_id, shared = await registry.shared_secret(connection, box)
        assert await registry.shared_secret(connection, box) == (shared_id, shared)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select sealed from webhook_secrets").fetchall()
        for text in (made.secret, rotated.secret, over.secret, shared):
            assert not any(text.encode() in bytes(row[0]) or secret_bytes(text) in bytes(row[0]) for row in rows)
        # One endpoint's secret put into another's row opens nothing.
        connection.execute("update webhook_secrets set sealed = (select sealed from webhook_secrets where shared)")
    elsewhere = SecretBox.of(Settings(home=tmp_path / "elsewhere"))
    async with catalog.connection() as connection:
        for opener in (box, elsewhere):
            with pytest.raises(InvalidSettings) as refusal:
                await registry.open_secret(connection, opener, secret_id)
            assert "whsec_" not in str(refusal.value)
