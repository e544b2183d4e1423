"""Rows that cannot be read as they are: they stop no list, count, search or dispatcher, and all others are there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.access.audit import Actor, record
from blocks.access.registry import create_key, list_keys
from blocks.catalog.maintenance import longest_unverified
from blocks.catalog.skipped_records import report_skipped, skipped_counts
from blocks.custody.verify import verify_many
from blocks.postgres import execute, fetch_all, fetch_row, single_connection
from blocks.postgres.page_cursor import read_row_cursor, write_cursor
from blocks.webhooks.outbox import recent_events
from blocks.webhooks.outbox.statistics import events_since
from tests.delivery.outbox_place import OutboxPlace, open_place, until
from tests.gateway import Gateway, running_gateway
from tests.integration.table_poison import ACCESS, FAR_TIMES, FILES, ODD_JSON, WEBHOOKS
from tests.webhooks import Receiver
from waybill.services.recent_events import of_documents


@dataclass
class Surroundings:
    gateway: Gateway
    outbox: OutboxPlace
    url: str
    headers: dict[str, str]

    def poison(self, statement: str, victim: object) -> None:
        with psycopg.connect(self.url) as connection:
            connection.execute(statement.encode(), {"victim": victim})

    async def read(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = await self.gateway.client.get(path, params=parameters, headers=self.headers)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json() if "json" in answer.headers["content-type"] else {"text": answer.text}

    async def pages(self, path: str, items: str) -> list[dict[str, Any]]:
        """All entries of a list, a few a page."""
        found: list[dict[str, Any]] = []
        after: dict[str, Any] = {}
        for _ in range(100):
            page = await self.read(path, limit=7, **after)
            found += page[items]
            if page.get("next") is None:
                return found
            after = {"after": page["next"]}
        raise AssertionError(f"the pages of {path} have no end")


@pytest.fixture
async def around(database_url: str, tmp_path: Path) -> AsyncIterator[Surroundings]:
    async with (
        running_gateway(database_url, tmp_path / "home") as gateway,
        open_place(database_url, tmp_path / "home") as outbox,
    ):
        yield Surroundings(gateway, outbox, database_url, await gateway.headers())


async def test_odd_rows_of_files_hide_no_other_file(around: Surroundings) -> None:
    healthy = [await around.gateway.put(b"healthy")]
    for poison in FILES.values():
        victim = await around.gateway.put(b"odd")
        around.poison("update artifacts set pinned_at = now() where file_id = %(victim)s", victim.file_id)
        around.poison(poison.replace("'../../../etc/passwd'", f"'../{victim.file_id}'"), victim.file_id)
    healthy.append(await around.gateway.put(b"healthy"))
    listed = [one["file_id"] for one in await around.pages("/api/v1/files/list", "files")]
    assert {str(one.file_id) for one in healthy} <= set(listed)
    assert len(listed) == len(set(listed)) == len(FILES) + len(healthy)
    await around.read("/metrics")
    catalog = around.gateway.custody.catalog
    async with catalog.connection() as connection:
        await catalog.statistics(connection)
    verified = {
        finding.artifact.file_id
        async for finding in verify_many(around.gateway.custody, longest_unverified(catalog))
        if finding.outcome == "verified"
    }
    assert {one.file_id for one in healthy} <= verified


async def test_odd_rows_of_webhooks_keep_no_other_delivery_from_being_sent(
    around: Surroundings, receiver: Receiver
) -> None:
    outbox = around.outbox
    fine = await outbox.register(receiver.url("/fine"))
    for table, column in (("endpoints", "endpoint_id"), ("secrets", "secret_id")):
        for poison in WEBHOOKS[table].values():
            odd = await outbox.register(receiver.url("/odd"))
            around.poison(poison, getattr(odd.endpoint, column))
    healthy = set(await outbox.happen())
    for poison in WEBHOOKS["events"].values():
        around.poison(poison, (await outbox.happen())[0])
    for poison in WEBHOOKS["deliveries"].values():
        (event,) = await outbox.happen()
        statement = "select delivery_id from webhook_deliveries where event_id = %s and endpoint_id = %s"
        (delivery,) = await outbox.execute(statement, event, fine.endpoint.endpoint_id)
        around.poison(poison, delivery["delivery_id"])
    healthy |= set(await outbox.happen())
    async with outbox.sending():
        await until_received(receiver, "/fine", healthy)
    ids = [one["delivery_id"] for one in await around.pages("/api/v1/webhooks/deliveries", "deliveries")]
    (count,) = await outbox.execute("select count(*) as count from webhook_deliveries")
    assert len(ids) == len(set(ids)) == count["count"]
    endpoints = (await around.read("/api/v1/webhooks/endpoints"))["endpoints"]
    assert str(fine.endpoint.endpoint_id) in {one["endpoint_id"] for one in endpoints}
    await around.read("/metrics")
    catalog = around.gateway.custody.catalog
    async with catalog.connection() as connection:
        recorded = await recent_events(connection, timedelta(hours=1), event_types=None, limit=1000)
        await events_since(connection, datetime.now(UTC) - timedelta(hours=1))
        skipped = await skipped_counts(connection)
    entries, broken = of_documents(recorded)
    assert healthy <= {event.event_id for event in recorded}
    assert len(entries) + len(broken) == len(recorded)
    assert len(broken) >= 5
    assert skipped["secret"] == 2
    ready = await around.read("/ready")
    assert (ready["status"], ready["skipped"]["secret"]) == ("ready", 2)
    assert 'waybill_skipped_records{kind="secret"} 2.0' in (await around.read("/metrics"))["text"]


async def test_an_odd_stored_response_is_refused_by_name_and_nothing_is_done_twice(
    around: Surroundings, receiver: Receiver
) -> None:
    client = around.gateway.client
    endpoint = (await around.outbox.register(receiver.url("/replayed"))).endpoint
    (event,) = await around.outbox.happen()
    statement = "select delivery_id from webhook_deliveries where event_id = %s and endpoint_id = %s"
    (delivery,) = await around.outbox.execute(statement, event, endpoint.endpoint_id)
    await around.outbox.execute("update webhook_deliveries set state = 'dead', settled_at = now()")
    odd = (*ODD_JSON, "{}", '{"file_id": "x\\r\\ny"}', '{"replayed": null}')
    counts = "select (select count(*) from artifacts), (select min(due_at) from webhook_deliveries)"
    for path, sent in (
        ("/api/v1/files/upload", {"files": {"file": ("a.txt", b"content")}}),
        (f"/api/v1/webhooks/deliveries/{delivery['delivery_id']}/replay", {}),
    ):
        headers = around.headers | {"Idempotency-Key": path}
        first = await client.post(path, headers=headers, **sent)
        assert first.is_success, first.text
        before = await around.outbox.execute(counts)
        for value in odd:
            around.poison("update idempotent_requests set answer = %(victim)s::jsonb", value)
            answer = await client.post(path, headers=headers, **sent)
            assert (answer.status_code, answer.json()["error"]["code"]) == (409, "StoredResponseUnreadable"), value[:20]
        assert await around.outbox.execute(counts) == before
    assert (await around.read("/ready"))["skipped"]["request"] == 2


async def test_odd_rows_of_keys_and_of_the_audit_log_hide_no_other(around: Surroundings) -> None:
    catalog = around.gateway.custody.catalog
    async with catalog.connection() as connection:
        for poison in ACCESS["keys"].values():
            around.poison(poison, (await create_key(connection, name="odd", scopes=("read",))).key.key_id)
        await record(connection, Actor(actor="cli:first").entry("key_created"))
        for number, poison in enumerate(ACCESS["audit"].values()):
            await record(connection, Actor(actor=f"cli:{number}").entry("key_created"))
            (entry,) = await around.outbox.execute("select entry_id from audit_log where actor = %s", f"cli:{number}")
            around.poison(poison, entry["entry_id"])
        await record(connection, Actor(actor="cli:last").entry("key_created"))
        assert len([key.as_json() for key in await list_keys(connection)]) == len(ACCESS["keys"]) + 1
    lines = (await around.read("/api/v1/audit", limit=100))["entries"]
    assert {"cli:first", "cli:last"} <= {line["actor"] for line in lines}


async def test_entries_that_nothing_would_remove_do_not_count_and_leave(database_url: str) -> None:
    add = "insert into skipped_records (kind, id, reason, last_seen) values (%(kind)s, 'x', 'odd', %(seen)s)"
    async with single_connection(database_url) as connection:
        for kind, seen in (("no_such_kind", "now"), ("run", "infinity"), ("file", "2999-01-01"), ("event", "now")):
            await execute(connection, add, {"kind": kind, "seen": seen})
        assert await skipped_counts(connection) == {"event": 1}
        await report_skipped(connection, "secret", {"y": "odd"})
        rows = await fetch_all(connection, "select kind from skipped_records order by kind", {})
    assert [row["kind"] for row in rows] == ["event", "no_such_kind", "secret"]


_YEARS = st.integers(1, 290_000).map(lambda year: f"{year:04}-02-28 23:59:59+00")
_TIMES = st.one_of(st.sampled_from(FAR_TIMES), _YEARS, st.integers(1, 4000).map(lambda year: f"{year:04}-03-15+00 BC"))


@given(texts=st.lists(_TIMES, min_size=1, max_size=8), odd=st.sampled_from(ODD_JSON))
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_time_and_any_json_of_postgres_is_read_in_order_and_a_cursor_leads_back_to_it(
    database_url: str, texts: list[str], odd: str
) -> None:
    async def read() -> None:
        async with single_connection(database_url) as connection:
            statement = """
                select moment::timestamptz as moment, %(odd)s::jsonb as odd from unnest(%(texts)s::text[]) as t (moment)
                 order by 1
            """
            rows = await fetch_all(connection, statement, {"texts": texts, "odd": odd})
            assert len(rows) == len(texts)
            assert [row["moment"] for row in rows] == sorted(row["moment"] for row in rows)
            for row in rows:
                assert row["moment"].astimezone() and row["moment"].isoformat()
                moment, _ = read_row_cursor(write_cursor(row["moment"], UUID(int=1)))
                same = "select count(*) as n from unnest(%(texts)s::text[]) t (m) where m::timestamptz = %(at)s"
                assert (await fetch_row(connection, same, {"texts": texts, "at": moment}))["n"] > 0

    asyncio.run(read())


async def until_received(receiver: Receiver, path: str, events: set[str]) -> None:
    async def have_come() -> bool:
        return events <= {one.event_id for one in receiver.received() if one.target == path}

    await until(have_come, f"{path} has received its events")
