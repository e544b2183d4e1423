"""The gateway's door to Prefect, called by hand: what a worker that was taken over would try."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from blocks.runs.remote_stages import HEARTBEAT_EVENT, REMOTE_POOL
from tests.gateway.place import error_of
from tests.remote.door_place import DoorPlace, WorkerIdentity, running_door
from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.routes.worker_prefect import MAX_BODY_BYTES, PREFIX
from waybill.worker.prefect_forwarder import PrefectForwarder

RUNNING = {"state": {"type": "RUNNING", "name": "Running"}, "force": False}
PENDING = {"state": {"type": "PENDING", "name": "Pending"}, "force": False}
COMPLETED = {"state": {"type": "COMPLETED", "name": "Completed", "data": {"type": "pickle"}}, "force": False}


@pytest.fixture(scope="module")
async def place(prefect_server: str) -> AsyncIterator[DoorPlace]:
    async with running_door(prefect_server) as place:
        yield place


def log_line(run_id: str, message: str = "forged") -> list[dict[str, Any]]:
    return [{"name": "n", "level": 20, "message": message, "timestamp": "2026-11-29T22:43:29Z", "flow_run_id": run_id}]


async def sent_as_it_is(place: DoorPlace, method: str, path: str, headers: dict[str, str]) -> int:
    """The status of a request whose path no client has tidied."""
    url = httpx.URL(place.gateway)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {url.netloc.decode()}", "Connection: close", "Content-Length: 0"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


async def test_a_worker_reads_and_ends_the_run_that_it_has_claimed(place: DoorPlace) -> None:
    run = await place.new_run()
    async with place.client() as door:
        found = (await door.post(f"/work_pools/{REMOTE_POOL}/get_scheduled_flow_runs", json={})).json()
        assert run in {one["flow_run"]["id"] for one in found}
        assert (await door.post(f"/flow_runs/{run}/set_state", json=RUNNING)).status_code == 403
        assert (await door.post(f"/flow_runs/{run}/set_state", json=PENDING)).json()["status"] == "ACCEPT"
        assert (await door.post(f"/flow_runs/{run}/set_state", json=RUNNING)).json()["status"] == "ACCEPT"
        assert (await door.get(f"/flow_runs/{run}")).json()["state"]["type"] == "RUNNING"
        assert (await door.get(f"/deployments/{place.deployment_id}")).json()["id"] == place.deployment_id
        assert (await door.get(f"/flows/{place.flow_id}")).json()["name"] == "a-remote-flow"
        assert (await door.post("/logs/", json=log_line(run, "as it is"))).status_code == 201
        progress = {"type": "progress", "key": "of-another", "data": 10, "flow_run_id": run}
        artifact = (await door.post("/artifacts/", json=progress)).json()
        assert (artifact["flow_run_id"], artifact["key"]) == (run, None)
        assert (await door.patch(f"/artifacts/{artifact['id']}", json={"data": 90})).status_code == 204
        assert (await door.post(f"/flow_runs/{run}/set_state", json=COMPLETED)).json()["status"] == "ACCEPT"
    ended = await place.run(run)
    assert (ended["state"]["type"], ended["state"]["data"]) == ("COMPLETED", None)
    assert (await place.prefect.get(f"/artifacts/{artifact['id']}")).json()["data"] == 90


async def test_a_text_that_postgres_refuses_does_not_hold_up_a_run(place: DoorPlace) -> None:
    run = await place.new_run()
    failed = {"state": {"type": "FAILED", "name": "Failed", "message": "cannot read a\0b"}, "force": True}
    async with place.client() as door:
        await door.post(f"/flow_runs/{run}/set_state", json=PENDING)
        assert (await door.patch(f"/flow_runs/{run}", json={"infrastructure_pid": "1\0"})).status_code == 204
        progress = {"type": "progress", "data": 10, "flow_run_id": run, "description": "a\0b"}
        assert (await door.post("/artifacts/", json=progress)).status_code == 201
        assert (await door.post(f"/flow_runs/{run}/set_state", json=failed)).json()["status"] == "ACCEPT"
    assert (await place.run(run))["state"]["message"] == "cannot read a\ufffdb"


async def test_another_worker_of_the_label_keeps_off_a_run_that_is_claimed(place: DoorPlace) -> None:
    run = await place.new_run()
    other = WorkerIdentity(name="another", labels=place.worker.labels)
    async with place.client() as door, place.client(other) as others:
        assert (await others.get(f"/flow_runs/{run}")).status_code == 200
        await door.post(f"/flow_runs/{run}/set_state", json=PENDING)
        for answer in (
            await others.get(f"/flow_runs/{run}"),
            await others.post(f"/flow_runs/{run}/set_state", json=COMPLETED),
            await others.patch(f"/flow_runs/{run}/labels", json={"prefect.worker.name": "another"}),
            await others.post("/events", json=[{"event": HEARTBEAT_EVENT, "flow_run_id": run}]),
        ):
            assert (answer.status_code, error_of(answer)) == (403, "NotForWorkers")
        # It may have logged before it knew.
        assert (await others.post("/logs/", json=log_line(run))).status_code == 201
        await place.prefect.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "SCHEDULED"}, "force": True})
        assert (await others.post(f"/flow_runs/{run}/set_state", json=PENDING)).json()["status"] == "ACCEPT"
        assert (await door.get(f"/flow_runs/{run}")).status_code == 403
    after = await place.run(run)
    assert (after["state"]["type"], after["labels"]["prefect.worker.name"]) == ("PENDING", "another")
    assert await place.log_of(run) == []


@pytest.mark.parametrize("whose", ["deployment", "queue"])
async def test_a_run_that_is_not_for_this_worker_is_neither_read_nor_changed(place: DoorPlace, whose: str) -> None:
    run = await place.new_run(place.other_queue, place.other_deployment_id if whose == "deployment" else None)
    before = await place.run(run)
    async with place.client() as door:
        progress = {"type": "progress", "data": 10, "flow_run_id": run}
        for answer in (
            await door.get(f"/flow_runs/{run}"),
            await door.post("/flow_runs/filter", json={"flow_runs": {"id": {"any_": [run]}}}),
            await door.post(f"/flow_runs/{run}/set_state", json=PENDING),
            await door.post(f"/flow_runs/{run}/set_state", json=COMPLETED),
            await door.patch(f"/flow_runs/{run}", json={"infrastructure_pid": "1"}),
            await door.patch(f"/flow_runs/{run}/labels", json={}),
            await door.post("/logs/", json=log_line(run)),
            await door.post("/artifacts/", json=progress),
            await door.post("/events", json=[{"event": HEARTBEAT_EVENT, "flow_run_id": run}]),
        ):
            assert (answer.status_code, error_of(answer)) == (403, "NotForWorkers"), answer.request.url
        found = (await door.post(f"/work_pools/{REMOTE_POOL}/get_scheduled_flow_runs", json={})).json()
        assert run not in {one["flow_run"]["id"] for one in found}
    after = await place.run(run)
    for moving in ("estimated_start_time_delta",):
        before.pop(moving), after.pop(moving)
    assert after == before
    assert await place.log_of(run) == []


async def test_nothing_else_of_prefect_is_reached(place: DoorPlace) -> None:
    ours, other = place.deployment_id, place.other_deployment_id
    before = await place.prefect.get(f"/deployments/{ours}")
    runs_before = (await place.prefect.post("/flow_runs/count", json={})).json()
    queues = (await place.prefect.post(f"/work_pools/{REMOTE_POOL}/queues/filter", json={})).json()
    queue_ids = {one["name"]: one["id"] for one in queues}
    run = await place.new_run()
    async with place.client() as door:
        assert (await door.get(f"/work_queues/{queue_ids[place.queue]}")).json()["name"] == place.queue
        for answer in (
            await door.get("/admin/settings"),
            await door.get(f"/deployments/{other}"),
            await door.patch(f"/deployments/{ours}", json={"entrypoint": "os.system"}),
            await door.delete(f"/deployments/{ours}"),
            await door.post("/deployments/", json={"name": "x", "flow_id": place.flow_id}),
            await door.post(f"/deployments/{ours}/create_flow_run", json={}),
            await door.post(f"/deployments/{other}/create_flow_run", json={}),
            await door.post("/flow_runs/", json={"flow_id": place.flow_id}),
            await door.get("/block_documents/filter"),
            await door.post("/block_documents/filter", json={"include_secrets": True}),
            await door.post("/variables/", json={"name": "x", "value": "y"}),
            await door.get(f"/work_queues/{queue_ids[place.other_queue]}"),
            await door.get("/work_pools/other-pool"),
            await door.patch(f"/work_pools/{REMOTE_POOL}", json={"base_job_template": {}}),
            await door.post("/work_pools/other-pool/get_scheduled_flow_runs", json={}),
            await door.post(
                f"/work_pools/{REMOTE_POOL}/get_scheduled_flow_runs", json={"work_queue_names": [place.other_queue]}
            ),
            await door.post(
                f"/work_pools/{REMOTE_POOL}/get_scheduled_flow_runs", json={"work_queue_names": ["default"]}
            ),
            await door.post(f"/work_pools/{REMOTE_POOL}/workers/heartbeat", json={"name": "another"}),
            await door.post("/events", json=[{"event": "prefect.task-run.Completed", "flow_run_id": run}]),
            await door.get(f"/flow_runs/{uuid4()}/graph"),
            await door.options("/admin/settings"),
            await door.put(f"/flow_runs/{run}", json={}),
        ):
            assert (answer.status_code, error_of(answer)) == (403, "NotForWorkers"), answer.request.url
        headers = {"Authorization": door.headers["Authorization"]}
        for path in (
            f"/flow_runs/{run}/../../admin/settings",
            f"/flow_runs/{run}/%2e%2e/%2e%2e/admin/settings",
            f"/flow_runs/{run}%2f..%2f..%2fadmin%2fsettings",
            "/../admin/settings",
            "//admin/settings",
            f"//flow_runs/{run}",
            f"/flow_runs//{run}",
            f"/flow_runs/{run}/",
            f"/flow_runs/{run};x",
            f"/flow_runs/{run}%00",
        ):
            assert await sent_as_it_is(place, "GET", PREFIX + path, headers) == 403, path
        assert await sent_as_it_is(place, "GET", f"{PREFIX}/flow_runs/{run}", headers) == 200
    assert (await place.prefect.get(f"/deployments/{ours}")).json() == before.json()
    assert (await place.prefect.post("/flow_runs/count", json={})).json() == runs_before + 1


async def test_bodies_are_bounded_and_must_be_json(place: DoorPlace) -> None:
    async with place.client() as door:
        assert (await door.post("/logs/", content=b" " * (MAX_BODY_BYTES + 1))).status_code == 413
        for content in (b"{", b'"\\ud800"', b"[" * 100_000, b"\xff"):
            assert (await door.post("/logs/", content=content)).status_code == 400
        for content in (b"null", b"1", b'"x"', b"[1]"):
            assert (await door.post("/logs/", content=content)).status_code == 403


async def test_a_session_is_asked_for_first(place: DoorPlace) -> None:
    for headers in ({}, {"Authorization": "Bearer no-session"}, {"Authorization": "Basic d2F5YmlsbDp4"}):
        async with httpx.AsyncClient(
            base_url=place.gateway + PREFIX, headers=headers, timeout=PATIENCE_SECONDS
        ) as client:
            for path in ("/admin/settings", f"/work_pools/{REMOTE_POOL}"):
                assert (await client.get(path)).status_code == 401


async def test_prefects_credential_and_headers_do_not_come_back(place: DoorPlace) -> None:
    async with place.client() as door:
        answer = await door.get(f"/work_pools/{REMOTE_POOL}", headers={"X-Prefect-Worker-Name": "x"})
    assert answer.status_code == 200
    sent = " ".join([answer.text, *(f"{name}: {value}" for name, value in answer.headers.items())])
    assert base64.b64encode(b"waybill:of-the-servers-that-tests-share").decode() not in sent
    assert "of-the-servers-that-tests-share" not in sent
    assert "prefect" not in " ".join(answer.headers)


def basic(forwarder: PrefectForwarder) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(forwarder.credential.encode()).decode()}


async def test_the_forwarder_answers_only_who_has_its_secret(place: DoorPlace) -> None:
    opened = place.sessions.opened
    async with (
        place.forwarder() as forwarder,
        httpx.AsyncClient(base_url=forwarder.api_url, timeout=PATIENCE_SECONDS) as client,
    ):
        events = forwarder.api_url.replace("http", "ws") + "/events/in"
        pool = f"/work_pools/{REMOTE_POOL}"
        guess = {"Authorization": "Basic " + base64.b64encode(b"worker:guessed").decode()}
        for headers in ({}, guess, {"Authorization": basic(forwarder)["Authorization"].replace("Basic", "Bearer")}):
            assert (await client.get(pool, headers=headers)).status_code == 401
            with pytest.raises(InvalidStatus):
                await connect(events, additional_headers=headers, open_timeout=PATIENCE_SECONDS)
        assert place.sessions.opened == opened, "a session was used for a stranger"
        assert (await client.get(pool, headers=basic(forwarder))).json()["name"] == REMOTE_POOL
        async with connect(
            events,
            additional_headers=basic(forwarder),
            subprotocols=[Subprotocol("prefect")],
            open_timeout=PATIENCE_SECONDS,
        ) as websocket:
            await websocket.send(json.dumps({"type": "auth", "token": "x"}))
            assert json.loads(await websocket.recv()) == {"type": "auth_success"}


async def test_the_forwarder_asks_for_a_new_session_once(place: DoorPlace) -> None:
    async with (
        place.forwarder() as forwarder,
        httpx.AsyncClient(base_url=forwarder.api_url, timeout=PATIENCE_SECONDS) as client,
    ):
        path = f"/work_pools/{REMOTE_POOL}/get_scheduled_flow_runs"
        run = await place.new_run()
        for end_sessions in (place.sessions.workers.clear, place.sessions.expire_all, lambda: None):
            answer = await client.post(path, headers=basic(forwarder), json={"work_queue_names": [place.queue]})
            assert run in {one["flow_run"]["id"] for one in answer.json()}
            end_sessions()
        opened = place.sessions.opened
        place.sessions.workers = _Forgetting()
        assert (await client.post(path, headers=basic(forwarder), json={})).status_code == 401
        assert place.sessions.opened == opened + 1
        place.sessions.workers = {}
        forwarder.give_no_more_runs()
        assert (await client.post(path, headers=basic(forwarder), json={})).json() == []


async def test_a_gateway_that_is_away_is_waited_for(place: DoorPlace) -> None:
    async def token(*, renewed: bool) -> str:
        return f"a token {renewed}"

    async with (
        httpx.AsyncClient(base_url="http://127.0.0.1:9") as nowhere,
        PrefectForwarder.running(nowhere, token) as forwarder,
        httpx.AsyncClient(base_url=forwarder.api_url, timeout=PATIENCE_SECONDS) as client,
    ):
        answer = await client.get(f"/work_pools/{REMOTE_POOL}", headers=basic(forwarder))
    assert answer.status_code == 503
    # Prefect's client does not count these, and asks again until it is answered otherwise.
    assert answer.headers["prefect-maintenance"] == "true"
    assert int(answer.headers["retry-after"]) >= 1
    del place


class _Forgetting(dict[str, WorkerIdentity]):
    """Sessions that have ended as soon as they are opened."""

    def __setitem__(self, token: str, worker: WorkerIdentity) -> None:
        del token, worker
