"""See the package."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi import FastAPI, Request
from prefect import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from blocks.runs import prefect_api as prefect_api_module
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.remote_stages import REMOTE_POOL
from tests.remote.waiting_flow import begun_of
from tests.stack_driver import PATIENCE_SECONDS, prefect_login
from waybill.gateway.access import bearer_of, not_authenticated
from waybill.gateway.errors import HttpError, install_error_handlers
from waybill.gateway.routes.worker_prefect import PREFIX, router_for
from waybill.gateway.server.server import GatewayServer
from waybill.gateway.worker_prefect import PrefectDoor
from waybill.process.gateway_socket import address_of, listen
from waybill.worker.prefect_forwarder import PrefectForwarder
from waybill.worker.prefect_worker import WorkerOptions, keep_prefect_worker

_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """A worker that is enrolled."""

    name: str
    labels: frozenset[str]


@dataclass
class Sessions:
    """Sessions that a test opens and ends."""

    workers: dict[str, WorkerIdentity] = field(default_factory=dict[str, WorkerIdentity])
    expired: set[str] = field(default_factory=set[str])
    opened: int = 0

    async def admit(self, request: Request) -> WorkerIdentity:
        """The worker whose session the request has."""
        token = bearer_of(request)
        if token in self.expired:
            raise HttpError(410, "SessionExpired", "this session has expired")
        if token is None or token not in self.workers:
            raise not_authenticated("this path needs the session of a worker")
        return self.workers[token]

    def expire_all(self) -> None:
        """End the sessions that are open."""
        self.expired |= self.workers.keys()

    def open(self, worker: WorkerIdentity) -> str:
        """The token of a new session."""
        self.opened += 1
        token = f"session-{uuid.uuid4().hex}"
        self.workers[token] = worker
        return token


@dataclass
class DoorPlace:
    """A gateway that is nothing but the door, on a real Prefect server with the pool, two queues and a deployment."""

    gateway: str
    prefect: httpx.AsyncClient
    sessions: Sessions
    queue: str
    other_queue: str
    deployment_id: str
    other_deployment_id: str
    flow_id: str
    worker: WorkerIdentity

    async def new_run(self, queue: str | None = None, deployment: str | None = None, **parameters: Any) -> str:
        """The id of a new scheduled run."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        if deployment is None:
            body["work_queue_name"] = queue or self.queue
        url = f"/deployments/{deployment or self.deployment_id}/create_flow_run"
        answer = await self.prefect.post(url, json=body)
        return str(answer.raise_for_status().json()["id"])

    async def run(self, run_id: str) -> dict[str, Any]:
        return (await self.prefect.get(f"/flow_runs/{run_id}")).raise_for_status().json()

    async def wait_for_state(self, run_id: str, *types: str) -> dict[str, Any]:
        """The state of the run once it has one of *types*, by default a final one."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (state := (await self.run(run_id))["state"])["type"] not in (types or _FINAL):
            assert time.monotonic() < deadline, f"the run is still {state}"
            await asyncio.sleep(0.05)
        return state

    async def waiting_run(self, until: Path) -> str:
        """The id of a run whose flow has begun, and waits for the file *until*."""
        run_id = await self.new_run(until=str(until))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not begun_of(until).exists():
            assert time.monotonic() < deadline, f"it is still {(await self.run(run_id))['state']}"
            await asyncio.sleep(0.05)
        return run_id

    async def log_of(self, run_id: str) -> list[str]:
        wanted = {"logs": {"flow_run_id": {"any_": [run_id]}}}
        return [one["message"] for one in (await self.prefect.post("/logs/filter", json=wanted)).json()]

    async def has_logged(self, run_id: str, beginning: str) -> bool:
        """Whether Prefect has a log line of the run that begins so."""
        return any(line.startswith(beginning) for line in await self.log_of(run_id))

    async def has_event(self, run_id: str, name: str) -> bool:
        """Whether Prefect has stored an event of that name about the run."""
        wanted = {"filter": {"any_resource": {"id": [f"prefect.flow-run.{run_id}"]}}}
        found = (await self.prefect.post("/events/filter", json=wanted)).raise_for_status().json()
        return name in {event["event"] for event in found["events"]}

    def client(self, worker: WorkerIdentity | None = None) -> httpx.AsyncClient:
        """A client of the door with a session of *worker*."""
        token = self.sessions.open(worker or self.worker)
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(
            base_url=self.gateway + PREFIX, headers=headers, verify=_NO_AUTHORITIES, timeout=PATIENCE_SECONDS
        )

    @asynccontextmanager
    async def forwarder(self) -> AsyncGenerator[PrefectForwarder]:
        """A forwarder with sessions of the worker, a new one whenever it asks for one."""
        token = ""

        async def session_token(*, renewed: bool) -> str:
            nonlocal token
            if renewed or not token:
                token = self.sessions.open(self.worker)
            return token

        async with (
            httpx.AsyncClient(base_url=self.gateway, verify=_NO_AUTHORITIES) as gateway,
            PrefectForwarder.running(gateway, session_token) as forwarder,
        ):
            yield forwarder

    @asynccontextmanager
    async def working(
        self, home: Path, *, most_runs: int | None = None, environment: Mapping[str, str] | None = None
    ) -> AsyncGenerator[asyncio.Event]:
        """Prefect's worker for the queue, until the event that is yielded is set, or the block ends."""
        ending = asyncio.Event()
        home.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test's own
        with (home / "worker.log").open("ab") as output:
            options = WorkerOptions(
                name=self.worker.name,
                labels=tuple(self.worker.labels),
                home=home,
                most_runs=most_runs,
                environment={"PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})},
                output=output,
            )
            async with self.forwarder() as forwarder:
                keeping = asyncio.create_task(keep_prefect_worker(options, forwarder, ending))
                try:
                    yield ending
                finally:
                    ending.set()
                    await keeping


@asynccontextmanager
async def running_door(prefect_api: str) -> AsyncGenerator[DoorPlace]:
    """The door to the Prefect server at *prefect_api*, which the settings of this process reach too."""
    mark = uuid.uuid4().hex[:8]
    queue, other_queue = f"gpu-{mark}", f"other-{mark}"
    sessions = Sessions()
    async with (
        _patient_api(prefect_api) as api,
        httpx.AsyncClient(base_url=prefect_api, auth=prefect_login(), timeout=PATIENCE_SECONDS) as prefect,
    ):
        flow_id, deployment_id, other = await _register(queue, other_queue, mark)

        async def find_deployment() -> uuid.UUID:
            return deployment_id

        app = FastAPI()
        install_error_handlers(app)
        app.include_router(router_for(PrefectDoor(api, find_deployment), sessions.admit))
        listener = listen("127.0.0.1", 0)
        ending = asyncio.Event()
        server = GatewayServer(app, ending.is_set)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield DoorPlace(
                gateway=address_of(listener),
                prefect=prefect,
                sessions=sessions,
                queue=queue,
                other_queue=other_queue,
                deployment_id=str(deployment_id),
                other_deployment_id=str(other),
                flow_id=str(flow_id),
                worker=WorkerIdentity(name=f"worker-{mark}", labels=frozenset({queue})),
            )
        finally:
            ending.set()
            await serving


@asynccontextmanager
async def _patient_api(address: str) -> AsyncGenerator[PrefectApi]:
    """However long a server that other tests keep busy takes for an answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefect_api_module, "_REQUEST_SECONDS", PATIENCE_SECONDS)
        async with PrefectApi.open(address) as api:
            yield api


async def _register(queue: str, other_queue: str, mark: str) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
    async with get_client() as client:
        # With a template: Prefect's worker would otherwise write its own into the pool, which the door refuses.
        template = ProcessWorker.get_default_base_job_template()
        with suppress(ObjectAlreadyExists):
            await client.create_work_pool(WorkPoolCreate(name=REMOTE_POOL, type="process", base_job_template=template))
        for name in (queue, other_queue):
            await client.create_work_queue(name=name, work_pool_name=REMOTE_POOL)
        flow_id = await client.create_flow_from_name("a-remote-flow")
        deployment_id, other = [
            await client.create_deployment(
                flow_id=flow_id,
                name=f"{name}-{mark}",
                entrypoint="tests.remote.waiting_flow.waiting_flow",
                work_pool_name=REMOTE_POOL,
                work_queue_name=on,
                tags=[f"tag-{mark}"],
                enforce_parameter_schema=False,
            )
            for name, on in (("remote", None), ("other", queue))
        ]
    return flow_id, deployment_id, other


def pid_of_server(prefect_api: str) -> int:
    """The process that listens at *prefect_api*."""

    port = httpx.URL(prefect_api).port
    (found,) = {
        one.pid
        for one in psutil.net_connections("tcp4")
        if one.status == "LISTEN" and one.laddr and one.laddr.port == port
    }
    assert found is not None and found != os.getpid()
    return found
