"""What Prefect has to do with webhooks beside hooks: blocks that become endpoints, scheduled flows, recent events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
import yaml
from prefect.artifacts import Artifact
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import AwaitingRetry, Completed, Running, State

from blocks.catalog import Catalog
from blocks.redaction import without_query
from blocks.runs.ownership import CATALOGUE_LABEL, catalogue_id
from blocks.settings import Settings, current_settings
from blocks.webhooks import endpoints
from blocks.webhooks import registration as registry
from blocks.webhooks.block import WebhookEndpoint
from blocks.webhooks.endpoints import Endpoint
from blocks.webhooks.outbox import Event, add_event_for
from blocks.webhooks.secrets import SecretBox, new_secret, secret_bytes
from blocks.webhooks.send.address import AddressGuard
from flows.events.delivery_table import update_table
from flows.events.endpoint_blocks import EndpointBlocks
from flows.events.reconciler import Reconciler
from flows.events.record_run_events import RunEventRecorder
from flows.webhooks import deliver_webhooks, reconcile_events
from tests.integration.conftest import Workspace
from tests.integration.poison import NESTED, write
from tests.integration.prefect_runs import begin_now, new_run, process
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS
from tests.webhooks.answers import Answer
from tests.webhooks.receiver import Receiver
from waybill.services.recent_events import read_recent_events
from waybill.stack.deployments import DONE_BY_UP, read_deployments

pytestmark = PREFECT_ALONE


@pytest.fixture
async def client(workspace: Workspace, client: PrefectClient) -> PrefectClient:
    begin_now(workspace)
    return client


@pytest.fixture
async def catalog(workspace: Workspace) -> AsyncIterator[Catalog]:
    async with Catalog.open(workspace.database_url) as opened:
        yield opened


@pytest.fixture
async def following(client: PrefectClient, catalog: Catalog, settings: Settings) -> AsyncIterator[EndpointBlocks]:
    """No block is there before the test, or after it: the Prefect server is that of the session."""

    async def resolve(host: str) -> list[Any]:
        return [ip_address("10.0.0.7" if host.startswith("inside") else "93.184.216.34")]

    yield EndpointBlocks(client, catalog, settings, guard=AddressGuard(resolve=resolve))
    for block in await client.read_block_documents_by_type("webhook-endpoint"):
        await client.delete_block_document(block.id)


async def save(name: str, **values: Any) -> None:
    # Not validated: anybody may write anything through Prefect's API.
    fields = {**dict.fromkeys(WebhookEndpoint.model_fields), **values}
    await WebhookEndpoint.model_construct(**fields).asave(name, overwrite=True)


async def endpoints_now(catalog: Catalog) -> dict[str, Endpoint]:
    async with catalog.connection() as connection:
        return await endpoints.endpoints_of_blocks(connection)


async def secret_of(catalog: Catalog, settings: Settings, endpoint: Endpoint) -> str:
    assert endpoint.secret_id is not None
    async with catalog.connection() as connection:
        return await registry.open_secret(connection, SecretBox.of(settings), endpoint.secret_id)


async def test_endpoints_are_added_changed_and_removed_as_their_blocks_are(
    following: EndpointBlocks, catalog: Catalog, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, other = new_secret(), new_secret()
    await save("plain", url="https://plain.example/hook")
    await save(
        "chosen", url="https://chosen.example/", events=["task_failed"], secret=secret, description="for the office"
    )
    await following.sync()
    first = await endpoints_now(catalog)
    assert {name: (one.url, one.event_types, one.description) for name, one in first.items()} == {
        "plain": ("https://plain.example/hook", None, ""),
        "chosen": ("https://chosen.example/", ["task_failed"], "for the office"),
    }
    assert await secret_of(catalog, settings, first["chosen"]) == secret
    fresh = await secret_of(catalog, settings, first["plain"])
    assert fresh not in {secret, ""}
    await following.sync()
    assert await endpoints_now(catalog) == first

    await save("chosen", url="https://moved.example/", secret=other)
    await following.sync()
    second = await endpoints_now(catalog)
    assert second["chosen"].endpoint_id == first["chosen"].endpoint_id
    assert (second["chosen"].url, second["chosen"].event_types) == ("https://moved.example/", None)
    secret_id = second["chosen"].secret_id
    assert secret_id is not None
    async with catalog.connection() as connection:
        keys = await registry.signing_keys(connection, SecretBox.of(settings), [secret_id])
    assert keys == {secret_id: (secret_bytes(other), secret_bytes(secret))}, "the old one signs too, for a while"
    assert await secret_of(catalog, settings, second["plain"]) == fresh

    await WebhookEndpoint.adelete("chosen")
    await following.sync()
    assert list(await endpoints_now(catalog)) == ["plain"]
    assert not any(text in caplog.text for text in (secret, other, fresh))


@pytest.mark.filterwarnings("ignore:Error calling function `ser_model`", "ignore:Pydantic serializer warnings")
async def test_a_block_that_cannot_be_sent_to_is_told_once_and_gets_nothing_until_it_is_put_right(
    following: EndpointBlocks, catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    await save("good", url="https://good.example/")
    bad: dict[str, dict[str, Any]] = {
        "inside": {"url": "https://inside.example/"},
        "loopback": {"url": "http://127.0.0.1/"},
        "nonsense": {"url": "nonsense"},
        "nothing": {},
        "unknown-event": {"url": "https://a.example/", "events": ["task_finished"]},
        "odd-events": {"url": "https://a.example/", "events": "task_failed"},
        "short-secret": {"url": "https://a.example/", "secret": "whsec_c2hvcnQ="},
    }
    for name, values in bad.items():
        await save(name, **values)
    await following.sync()
    await following.sync()
    assert list(await endpoints_now(catalog)) == ["good"]
    for name in bad:
        assert len([line for line in caplog.messages if f"webhook-endpoint/{name} " in line]) == 1

    await save("good", url="http://10.1.2.3/")
    await save("inside", url="https://outside.example/")
    await following.sync()
    found = await endpoints_now(catalog)
    assert found["good"].state == "disabled"
    assert "10.1.2.3" in (found["good"].disabled_because or "")
    assert found["inside"].state == "enabled"
    await save("good", url="https://good.example/")
    await following.sync()
    assert (await endpoints_now(catalog))["good"].state == "enabled"


async def test_an_endpoint_that_was_disabled_for_another_reason_stays_so_until_its_block_names_another_address(
    following: EndpointBlocks, catalog: Catalog
) -> None:
    await save("gone", url="https://gone.example/")
    await following.sync()
    endpoint = (await endpoints_now(catalog))["gone"]
    async with catalog.connection() as connection:
        await endpoints.disable_endpoint(connection, endpoint.endpoint_id, "it answered 410")
    await following.sync()
    assert (await endpoints_now(catalog))["gone"].state == "disabled"
    await save("gone", url="https://here.example/")
    await following.sync()
    assert (await endpoints_now(catalog))["gone"].state == "enabled"


async def test_a_block_that_cannot_be_read_stops_no_other_and_its_endpoint_stays(
    workspace: Workspace, client: PrefectClient, catalog: Catalog, following: EndpointBlocks
) -> None:
    await save("a-odd", url="https://a.example/")
    await following.sync()
    (before,) = (await endpoints_now(catalog)).values()
    block = await client.read_block_document_by_name("a-odd", "webhook-endpoint")
    await client.delete_block_document(block.id)
    body = {"block_schema_id": str(block.block_schema_id), "block_type_id": str(block.block_type_id)}
    await write(client, "/block_documents/", body | {"name": "a-odd", "data": {"url": NESTED}})
    await save("b-fine", url="https://b.example/")
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            await following.sync()
        found = await endpoints_now(catalog)
        assert found.keys() == {"a-odd", "b-fine"}
        assert found["a-odd"].endpoint_id == before.endpoint_id
        with psycopg.connect(workspace.database_url) as connection:
            assert connection.execute("select kind, id from skipped_records").fetchall() == [("block", "a-odd")]
    finally:
        # Nothing says the id of a block that cannot be read: it goes with its type, which the next block registers.
        await client.delete_block_type(str(block.block_type_id))
    await save("c-fine", url="https://c.example/")
    await following.sync()
    assert (await endpoints_now(catalog)).keys() == {"c-fine"}
    with psycopg.connect(workspace.database_url) as connection:
        assert connection.execute("select kind, id from skipped_records").fetchall() == []


async def test_a_block_that_dns_is_slow_with_holds_up_no_dispatcher(
    client: PrefectClient, catalog: Catalog, settings: Settings, following: EndpointBlocks
) -> None:
    """A dispatcher renews the leases of all of its endpoints in one statement: a row that is locked stops them all."""
    await save("a-changed", url="https://a.example/")
    await following.sync()
    asked, answered = asyncio.Event(), asyncio.Event()

    async def slow(host: str) -> list[Any]:
        if host == "slow.example":
            asked.set()
            await answered.wait()
        return [ip_address("93.184.216.34")]

    await save("a-changed", url="https://b.example/")
    await save("b-slow", url="https://slow.example/")
    syncing = asyncio.create_task(EndpointBlocks(client, catalog, settings, guard=AddressGuard(resolve=slow)).sync())
    try:
        await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)
        async with catalog.transaction() as connection:
            await connection.execute("set local lock_timeout = '60s'")
            await connection.execute("select endpoint_id from webhook_endpoints for no key update")
    finally:
        answered.set()
        await syncing
    assert {name: one.url for name, one in (await endpoints_now(catalog)).items()} == {
        "a-changed": "https://b.example/", "b-slow": "https://slow.example/",
    }  # fmt: skip


async def test_the_scheduled_flows_deliver_tell_and_show(
    workspace: Workspace, client: PrefectClient, catalog: Catalog, settings: Settings, receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # One attempt in the time of the test, however long that takes.
    monkeypatch.setenv("WAYBILL_WEBHOOK_SCHEDULE", "0,1h")
    monkeypatch.setenv("WAYBILL_ALLOW_PRIVATE_WEBHOOKS", "loopback")
    current_settings.cache_clear()
    # Another test's catalogue may have the usual one.
    key = f"webhook-deliveries-{uuid4()}"
    monkeypatch.setattr("flows.events.delivery_table.ARTIFACT_KEY", key)
    receiver.answer(Answer(status=500), when="/broken?token=hidden")
    receiver.answer(Answer(status=204))
    for path in ("/well", "/broken?token=hidden"):
        await new_run(client, Running(), Completed(), webhook_url=receiver.url(path))
    told = await reconcile_events(return_state=True)
    assert (await cast("State[Any]", told).aresult())["added"] == 4
    state = cast("State[Any]", await deliver_webhooks(seconds=PATIENCE_SECONDS, return_state=True))
    assert state.is_completed()
    assert {body["event_type"] for body in map(_body, receiver.received("/well"))} == {"task_started", "task_completed"}

    table = await Artifact.aget(key, client=client)
    assert table is not None
    assert table.flow_run_id == state.state_details.flow_run_id
    rows = json.loads(str(table.data))
    assert sorted((row["endpoint"], row["state"], row["status"]) for row in rows) == [
        (receiver.url("/broken"), "waiting", "500"),
        (receiver.url("/broken"), "waiting", "500"),
        (receiver.url("/well"), "delivered", "204"),
        (receiver.url("/well"), "delivered", "204"),
    ]
    assert "hidden" not in str(table.data)

    # A table that says the same is not added again; one that is kept is changed where it lies.
    await deliver_webhooks(seconds=PATIENCE_SECONDS, return_state=True)
    with psycopg.connect(workspace.database_url) as connection:
        connection.execute("update webhook_deliveries set state = 'dead', settled_at = now() where state = 'pending'")
    await update_table(client, catalog)
    kept = await Artifact.aget(key, client=client)
    assert kept is not None
    assert kept.id == table.id
    assert [row["state"] for row in json.loads(str(kept.data))] == ["✖ DEAD", "✖ DEAD", "delivered", "delivered"]
    assert kept.description == "2 delivered, 2 dead"


async def test_the_table_is_kept_without_a_flow_run_too(
    client: PrefectClient, catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"webhook-deliveries-{uuid4()}"
    monkeypatch.setattr("flows.events.delivery_table.ARTIFACT_KEY", key)
    await update_table(client, catalog)
    assert await Artifact.aget(key, client=client) is None, "an empty table is none"
    async with catalog.transaction() as connection:
        made = await registry.register(connection, SecretBox.of(settings), url="https://a.example/hook?token=hidden")
        event = Event(
            event_id=f"evt_{uuid4()}", event_type="webhook_test", task_id=None, source_file=None,
            occurred_at=datetime.now(UTC), data={},
        )  # fmt: skip
        await add_event_for(connection, event, made.endpoint.endpoint_id, lambda _: None)
    await update_table(client, catalog)
    table = await Artifact.aget(key, client=client)
    assert table is not None
    assert (table.type, table.description) == ("table", "1 pending")
    # That of another catalogue stays as it is.
    await client.update_artifact(table.id, ArtifactUpdate(metadata_={CATALOGUE_LABEL: "another"}))
    await update_table(client, catalog)
    async with catalog.connection() as connection:
        own = await Artifact.aget(f"{key}-{await catalogue_id(connection)}", client=client)
    assert own is not None
    assert (own.id != table.id, own.description) == (True, "1 pending")
    assert [row["endpoint"] for row in json.loads(str(table.data))] == ["https://a.example/hook"]


def _body(request: Any) -> dict[str, Any]:
    return json.loads(request.body)


def test_an_address_in_the_ui_shows_no_key() -> None:
    assert without_query("https://user:word@host.example:8443/a?token=1#x") == "https://host.example:8443/a"
    assert without_query("http://[broken") == "(no URL)"


def test_what_waybill_up_does_by_itself_is_named_as_in_prefect_yaml() -> None:
    project = Path(__file__).parents[2]
    deployed = {one.entrypoint: one for one in read_deployments(project)}
    assert deployed.keys() >= DONE_BY_UP
    for entrypoint in DONE_BY_UP:
        one = deployed[entrypoint]
        assert one.name == entrypoint.split(":")[1].replace("_", "-")  # "every-minute" for both could not be told apart
        assert [schedule["cron"] for schedule in one.schedules] == ["* * * * *"]
        assert one.concurrency_limit == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    assert yaml.safe_load((project / "prefect.yaml").read_text())["prefect-version"]


async def test_recent_events_are_one_list_of_states_and_documents_newest_first(
    workspace: Workspace, client: PrefectClient, catalog: Catalog, settings: Settings
) -> None:
    documents = [workspace.write("good.txt", "Some words."), workspace.documents / "missing.txt"]
    run_id = str(await process(*documents))
    told_nobody = await new_run(client, Running(), AwaitingRetry())
    await Reconciler(client, catalog, RunEventRecorder(settings)).reconcile_once()
    found = await read_recent_events(catalog, client, 0.5)
    assert found["count"] == len(found["events"])
    assert (found["hours"], found["truncated"]) == (0.5, False)
    times = [entry["timestamp"] for entry in found["events"]]
    assert times == sorted(times, reverse=True)
    of_run = [entry for entry in found["events"] if entry["task_id"] == run_id]
    assert [entry["status"] for entry in of_run if "state_id" in entry["metadata"]] == ["failed", "running", "pending"]
    kinds = {entry["event_type"] for entry in of_run}
    assert kinds == {
        "task_failed", "task_started", None, "task_progress", "stage_completed", "stage_failed",
        "stage_chain_completed",
    }  # fmt: skip
    assert {entry["status"] for entry in of_run if entry["event_type"] == "stage_chain_completed"} == {
        "completed", "failed",
    }  # fmt: skip
    assert "token=" not in json.dumps(found)
    others = [entry["metadata"]["state_name"] for entry in found["events"] if entry["task_id"] == str(told_nobody.id)]
    assert others == ["AwaitingRetry", "Running", "Pending"]
    assert (await read_recent_events(catalog, client, 1e-9))["count"] == 0

    few = await read_recent_events(catalog, client, 0.5, limit=3)
    assert (few["count"], few["truncated"]) == (3, True)
    assert few["events"] == found["events"][:3]
