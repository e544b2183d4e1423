"""The whole of a thinned event by the link that the event carries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.links import Links
from blocks.settings import Settings
from blocks.storage import open_backend
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events, recent_events
from tests.storage_keys import PLAIN
from waybill.gateway.app import create_app
from waybill.gateway.resources import open_resources

BASE = "http://gateway.example"
SECRET = "1b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"


@pytest.fixture
async def catalog(database_url: str) -> AsyncIterator[Catalog]:
    async with Catalog.open(database_url) as opened:
        yield opened


async def test_the_link_in_a_thinned_event_gives_the_whole_of_it_and_nothing_else(
    catalog: Catalog, database_url: str, tmp_path: Path
) -> None:
    custody = Custody(catalog=catalog, backend=open_backend(str(tmp_path / "store")), keys=PLAIN)
    settings = Settings(home=tmp_path, public_url=BASE, database_url=database_url)
    links = Links.of(settings)
    events = [
        Event(
            event_id=f"evt_{uuid4()}",
            event_type="stage_completed",
            task_id=None,
            source_file="a.pdf",
            occurred_at=datetime.now(UTC),
            data={"metadata": {"text": "long " * 10_000}},
        )
        for _ in range(2)
    ]
    async with catalog.connection() as connection:
        # Only an event that an endpoint wants is recorded whole.
        await connection.execute("insert into webhook_secrets (secret_id, sealed) values (%s, '')", (SECRET,))
        await connection.execute(
            "insert into webhook_endpoints (endpoint_id, origin, url, secret_id) values (%s, 'registered', %s, %s)",
            (uuid4(), "https://a.example/", SECRET),
        )
        await add_events(connection, events, EventLinks(links).to_payload)
        first, second = await recent_events(connection, timedelta(hours=1))
    data = json.loads(first.body)["data"]
    assert data["thinned"] is True
    url = data["payload_url"]
    async with (
        open_resources(settings, custody, prefect_api=None) as resources,
        httpx.AsyncClient(transport=httpx.ASGITransport(create_app(resources)), base_url=BASE) as client,
    ):
        whole = await client.get(url)
        assert (whole.status_code, whole.headers["content-type"]) == (200, "application/json")
        assert whole.json()["data"] == {"metadata": {"text": "long " * 10_000}}
        assert len(whole.content) == data["payload_bytes"]
        path, _, token = url.partition("?token=")
        for refused, status in {
            path: 401,
            f"{path}?token={token[:-2]}xx": 403,
            url.replace(first.event_id, second.event_id): 403,
            links.to_event("evt_unknown", timedelta(hours=1)).url: 404,
        }.items():
            answer = await client.get(refused)
            assert answer.status_code == status, refused
            assert set(answer.json()["error"]) == {"code", "message", "detail"}
