"""Webhooks over HTTP: endpoints, secrets, the log, sending again and a test, with a real receiver and dispatcher."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from blocks.webhooks.endpoints import get_endpoint
from blocks.webhooks.event_types import EVENT_TYPES
from blocks.webhooks.registration import set_run_webhook
from blocks.webhooks.secrets import secret_bytes
from blocks.webhooks.signature import verify
from tests.delivery import OutboxPlace, open_place
from tests.gateway import Gateway, error_of, running_gateway
from tests.stack_driver import PATIENCE_SECONDS
from tests.webhooks import Answer, Receiver, Request
from waybill.gateway.resources import MOST_WAITING_TESTS
from waybill.gateway.routes import webhooks
from waybill.gateway.routes.webhooks import (
    Delivery,
    DeliveryDetails,
    DeliveryList,
    EndpointList,
    RegisteredEndpoint,
    RotatedSecret,
)

WEBHOOKS = "/api/v1/webhooks"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home", allow_private_webhooks="loopback") as running:
        yield running


@pytest.fixture
async def place(gateway: Gateway) -> AsyncGenerator[OutboxPlace]:
    """The outbox of the gateway's database, with the gateway's home."""
    async with open_place(gateway.database_url, gateway.resources.settings.home) as opened:
        yield opened


@pytest.fixture
async def http(gateway: Gateway) -> AsyncGenerator[httpx.AsyncClient]:
    """A client whose key may do everything."""
    headers = await gateway.headers("admin")
    async with httpx.AsyncClient(base_url=gateway.url + WEBHOOKS, headers=headers, timeout=PATIENCE_SECONDS) as client:
        yield client


async def registered(http: httpx.AsyncClient, url: str, **more: Any) -> dict[str, Any]:
    answer = await http.post("/endpoints", json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    RegisteredEndpoint.model_validate(answer.json())
    return answer.json()


def require_signed(request: Request, *secrets: str) -> None:
    verify([secret_bytes(one) for one in secrets], request.headers, request.body, now=time.time())


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, error_of(answer)


# Endpoints ------------------------------------------------------------------------------------------------------------


async def test_a_secret_is_shown_once_and_signs_what_is_sent(
    gateway: Gateway, place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await registered(
        http, receiver.url("/hook?token=visible"), events=["stage_completed"], description="for a test"
    )
    async with gateway.custody.catalog.connection() as connection:
        found = await get_endpoint(connection, made["endpoint_id"])
    assert made == {**found.as_json(), "secret": made["secret"]}
    listed = await http.get("/endpoints")
    EndpointList.model_validate(listed.json())
    assert listed.json() == {"endpoints": [{**found.as_json(), "pending": 0, "dead": 0}]}
    async with place.sending():
        await place.happen()
        require_signed((await asyncio.to_thread(receiver.wait_for, 1))[0], made["secret"])
    (row,) = await gateway.audited("endpoint_added")
    assert row["detail"] == {"endpoint_id": made["endpoint_id"]}
    assert row["actor"].startswith("key:")


async def test_an_endpoint_waits_goes_on_and_is_forgotten(
    gateway: Gateway, place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    one = (await registered(http, receiver.url()))["endpoint_id"]
    stopped = (await http.post(f"/endpoints/{one}/disable")).json()
    assert (stopped["state"], stopped["disabled_because"]) == ("disabled", "by hand")
    await place.happen()
    async with place.sending():
        assert (await http.post(f"/endpoints/{one}/enable")).json()["state"] == "enabled"
        await place.until_states(delivered=1)
    assert (await http.delete(f"/endpoints/{one}")).json()["state"] == "removed"
    for method, path in (("DELETE", ""), ("POST", "/enable"), ("POST", "/disable"), ("POST", "/rotate")):
        assert code_of(await http.request(method, f"/endpoints/{one}{path}")) == (404, "EndpointNotFound")
    assert code_of(await http.post("/test", json={"endpoint_id": one})) == (404, "EndpointNotFound")
    assert (await http.get("/endpoints")).json() == {"endpoints": []}
    actions = ("endpoint_disabled", "endpoint_enabled", "endpoint_removed", "secret_rotated", "webhook_tested")
    assert [len(await gateway.audited(action)) for action in actions] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("body", "lasts"), [(None, 86400), ({}, 86400), ({"overlap": "7d"}, 604800), ({"overlap": 60}, 60)]
)
async def test_during_a_rotation_both_secrets_sign(
    place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver, body: dict[str, Any] | None, lasts: int
) -> None:
    made = await registered(http, receiver.url())
    answer = await http.post(f"/endpoints/{made['endpoint_id']}/rotate", json=body)
    RotatedSecret.model_validate(answer.json())
    rotated = answer.json()
    assert rotated["endpoint_id"] == made["endpoint_id"]
    until = datetime.fromisoformat(rotated["previous_until"]) - datetime.now(UTC)
    assert abs(until.total_seconds() - lasts) < 30
    async with place.sending():
        await place.happen()
        (both,) = await asyncio.to_thread(receiver.wait_for, 1)
    for secret in (made["secret"], rotated["secret"]):
        require_signed(both, secret)


async def test_a_secret_that_was_stolen_signs_no_more_at_once(
    place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await registered(http, receiver.url())
    rotated = (await http.post(f"/endpoints/{made['endpoint_id']}/rotate", json={"overlap": 0})).json()
    async with place.sending():
        await place.happen()
        (request,) = await asyncio.to_thread(receiver.wait_for, 1)
    require_signed(request, rotated["secret"])
    assert len(request.headers["webhook-signature"].split()) == 1


async def test_an_address_that_came_with_a_run_has_no_secret_of_its_own(
    gateway: Gateway, place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    async with gateway.custody.catalog.transaction() as connection:
        await set_run_webhook(connection, place.box, run_id=uuid4(), url=receiver.url())
    (one,) = (await http.get("/endpoints")).json()["endpoints"]
    assert one["origin"] == "run"
    assert code_of(await http.post(f"/endpoints/{one['endpoint_id']}/rotate")) == (422, "InvalidOptions")


async def test_an_address_that_must_not_be_reached_is_refused(
    gateway: Gateway, http: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for url, code in [
        ("http://10.0.0.1/", "AddressRefused"),
        ("http://169.254.169.254/latest/meta-data", "AddressRefused"),
        ("http://[::ffff:10.0.0.1]/", "AddressRefused"),
        ("http://2130706433/", "InvalidWebhookUrl"),
        ("http://0x7f.1/", "InvalidWebhookUrl"),
        ("https://user:word@example.org/", "InvalidWebhookUrl"),
        ("https://example.org/#part", "InvalidWebhookUrl"),
        ("https://exa mple.org/", "InvalidWebhookUrl"),
        ("https://host.invalid./\r\nX: 1", "InvalidWebhookUrl"),
        ("http:///path", "InvalidWebhookUrl"),
        ("https://exämple.org/", "InvalidWebhookUrl"),
        ("https://example.org/\0", "InvalidWebhookUrl"),
        ("ftp://example.org/", "InvalidRequest"),
        ("file:///etc/passwd", "InvalidRequest"),
        ("no address", "InvalidRequest"),
        ("https://example.org/" + "x" * 2048, "InvalidRequest"),
        ("", "InvalidRequest"),
        (None, "InvalidRequest"),
    ]:
        with subtests.test(url=url, code=code):
            answer = await http.post("/endpoints", json={"url": url})
            assert code_of(answer) == (422, code)
            assert "10.0.0.1" not in answer.text and "WAYBILL" not in answer.text
            assert await gateway.audited("endpoint_added") == []
            assert (await http.get("/endpoints")).json() == {"endpoints": []}


async def test_what_cannot_be_registered_is_refused(
    http: httpx.AsyncClient, receiver: Receiver, subtests: pytest.Subtests
) -> None:
    for more in [
        {"events": []},
        {"events": ["everything"]},
        {"events": ["task_completed", 7]},
        {"events": "task_completed"},
        {"events": ["task_completed"] * (len(EVENT_TYPES) + 1)},
        {"events": ["\0"]},
        {"events": ["\ud800"]},
        {"description": "a\0b"},
        {"description": "x" * 501},
        {"description": None},
        {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
        {"origin": "run"},
    ]:
        with subtests.test(more=more):
            body = json.dumps({"url": receiver.url(), **more})
            answer = await http.post("/endpoints", content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, error_of(answer) in {"InvalidRequest", "InvalidOptions"}) == (422, True)
            assert (await http.get("/endpoints")).json() == {"endpoints": []}


async def test_an_overlap_that_cannot_be_is_refused(
    http: httpx.AsyncClient, receiver: Receiver, subtests: pytest.Subtests
) -> None:
    for overlap in ["0", "0s", "31d", "9999999d", -1, False, 2592001, None, "soon", 0.5]:
        with subtests.test(overlap=overlap):
            made = await registered(http, receiver.url())
            answer = await http.post(f"/endpoints/{made['endpoint_id']}/rotate", json={"overlap": overlap})
            assert (answer.status_code, error_of(answer) in {"InvalidRequest", "InvalidOptions"}) == (422, True)


# Deliveries -----------------------------------------------------------------------------------------------------------


async def test_a_test_says_what_came_back(
    gateway: Gateway, place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await registered(http, receiver.url(), events=["task_failed"])
    async with place.sending():
        good = await http.post("/test", json={"endpoint_id": made["endpoint_id"]})
        Delivery.model_validate(good.json())
        assert (good.status_code, good.json()["state"], good.json()["last_status"]) == (200, "delivered", 204)
        require_signed(receiver.received()[0], made["secret"])
        receiver.answer(Answer(status=500, body=b"out of order"))
        bad = await http.post("/test", json={"endpoint_id": made["endpoint_id"]})
        assert (bad.status_code, bad.json()["last_status"]) == (200, 500)
    details = await http.get(f"/deliveries/{bad.json()['delivery_id']}")
    DeliveryDetails.model_validate(details.json())
    assert {attempt["answer"] for attempt in details.json()["attempts_made"]} == {"out of order"}
    tested = await gateway.audited("webhook_tested")
    assert [row["detail"] for row in tested] == [{"endpoint_id": made["endpoint_id"]}] * 2


async def test_where_nobody_sends_a_test_waits_and_says_so(
    http: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_TEST_SECONDS", 0.3)
    made = await registered(http, receiver.url())
    started = time.monotonic()
    answers = await asyncio.gather(
        *(http.post("/test", json={"endpoint_id": made["endpoint_id"]}) for _ in range(2 * MOST_WAITING_TESTS))
    )
    # How long the requests themselves take depends on what else the machine does.
    assert time.monotonic() - started < PATIENCE_SECONDS
    assert {(answer.status_code, answer.json()["state"]) for answer in answers} == {(202, "pending")}
    assert receiver.received() == []


async def test_the_log_is_filtered_and_paged_newest_first(
    place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    first, second = [(await registered(http, receiver.url(path)))["endpoint_id"] for path in ("/1", "/2")]
    runs = [uuid4(), uuid4(), uuid4()]
    for run in runs:
        await place.happen(run=run)
    logged = [one.as_json() for one in await place.log()]

    async def found(**params: Any) -> list[dict[str, Any]]:
        answer = await http.get("/deliveries", params=params)
        assert answer.status_code == 200, answer.text
        DeliveryList.model_validate(answer.json())
        return answer.json()["deliveries"]

    assert await found() == logged and len(logged) == 6
    assert await found(endpoint_id=first) == [one for one in logged if one["endpoint_id"] == first]
    assert await found(task_id=runs[0]) == logged[-2:]
    assert await found(state="pending", endpoint_id=second) == [one for one in logged if one["endpoint_id"] == second]
    assert await found(state="dead") == []
    paged: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = (await http.get("/deliveries", params={"limit": 4, **after})).json()
        paged += page["deliveries"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert paged == logged
    for params in ({"state": "lost"}, {"limit": "0"}, {"endpoint_id": "7"}, {"after": "nonsense"}, {"task_id": "x"}):
        answer = await http.get("/deliveries", params=params)
        assert (params, answer.status_code) == (params, 422)
        error_of(answer)


async def test_what_died_is_sent_again_with_the_same_id_and_body(
    gateway: Gateway, place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    await registered(http, receiver.url())
    receiver.answer(Answer(status=503), times=1)
    async with place.sending(schedule=[timedelta(0)]):
        await place.happen()
        await place.until_states(dead=1)
        (dead,) = (await http.get("/deliveries", params={"state": "dead"})).json()["deliveries"]
        assert (await http.post(f"/deliveries/{dead['delivery_id']}/replay")).json() == {"replayed": 1}
        await place.until_states(delivered=1)
    first, second = receiver.received()
    assert (first.event_id, first.body) == (second.event_id, second.body)
    assert (await http.post(f"/deliveries/{dead['delivery_id']}/replay")).json() == {"replayed": 1}
    # It waits already, and keeps its place.
    assert (await http.post(f"/deliveries/{dead['delivery_id']}/replay")).json() == {"replayed": 0}
    rows = await gateway.audited("webhook_replayed")
    assert [row["detail"] for row in rows] == [{"replayed": 1, "delivery_ids": [dead["delivery_id"]]}] * 2
    for method, path in (("GET", ""), ("POST", "/replay")):
        assert code_of(await http.request(method, f"/deliveries/{uuid4()}{path}")) == (404, "DeliveryNotFound")
        assert code_of(await http.request(method, f"/deliveries/7{path}")) == (422, "InvalidRequest")


# Whoever may not ------------------------------------------------------------------------------------------------------


async def test_each_path_asks_for_its_scope(
    gateway: Gateway, place: OutboxPlace, http: httpx.AsyncClient, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_TEST_SECONDS", 0.0)
    made = await registered(http, receiver.url())
    await place.happen()
    (delivery,) = await place.log()
    one, body = f"/endpoints/{made['endpoint_id']}", {"endpoint_id": made["endpoint_id"]}
    by_scope = {scope: await gateway.headers(scope) for scope in ("read", "write", "admin")}
    paths: dict[tuple[str, str], tuple[str, dict[str, Any] | None]] = {
        ("GET", "/endpoints"): ("read", None),
        ("GET", "/deliveries"): ("read", None),
        ("GET", f"/deliveries/{delivery.delivery_id}"): ("read", None),
        ("POST", f"/deliveries/{delivery.delivery_id}/replay"): ("write", None),
        ("POST", "/test"): ("write", body),
        ("POST", "/endpoints"): ("admin", {"url": receiver.url()}),
        ("POST", f"{one}/disable"): ("admin", None),
        ("POST", f"{one}/enable"): ("admin", None),
        ("POST", f"{one}/rotate"): ("admin", None),
        ("DELETE", one): ("admin", None),
    }
    for (method, path), (needed, content) in paths.items():
        url = gateway.url + WEBHOOKS + path
        nobody = await gateway.client.request(method, url, json=content)
        assert (path, *code_of(nobody)) == (path, 401, "NotAuthenticated")
        for scope in {"read", "write"} - {needed}:
            refused = await gateway.client.request(method, url, json=content, headers=by_scope[scope])
            assert (path, *code_of(refused)) == (path, 403, "ScopeMissing")
    for (method, path), (needed, content) in paths.items():
        url = gateway.url + WEBHOOKS + path
        answer = await gateway.client.request(method, url, json=content, headers=by_scope[needed])
        assert (path, answer.status_code in {200, 201, 202}) == (path, True)
    assert len(await gateway.audited("key_refused")) == 15
