"""The door through which remote workers reach Prefect: `worker_prefect_rules`, applied to the runs that are there.

Owns looking up what a request is about before it is passed on, claiming a run for one worker, and the translation of
Prefect's errors. The gateway's own credential is added by `PrefectApi`; no header of the worker's is passed on, and
none of Prefect's comes back.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from blocks.errors import PrefectUnavailable
from blocks.runs.prefect_api import REFUSED, PrefectApi
from blocks.runs.remote_stages import REMOTE_POOL
from waybill.gateway import worker_prefect_rules as rules
from waybill.gateway.worker_prefect_rules import Call, Refused, Request, Run

# A deployment is made again when `waybill up` starts on another database, say.
_DEPLOYMENT_SECONDS = 10.0
# A worker with a run sends its log every two seconds, and several calls at the start and end of it.
_RUN_SECONDS = 2.0
_MOST_REMEMBERED_RUNS = 1_000
# A hundred scheduled runs with their parameters.
_MOST_ANSWER_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class PrefectAnswer:
    """What Prefect has answered: JSON, or None for nothing."""

    status: int
    body: Any


class DoorWorker(Protocol):
    """The authenticated worker of a request."""

    @property
    def name(self) -> str:
        """Its name, also with Prefect."""
        ...

    @property
    def labels(self) -> Collection[str]:
        """The work queues whose runs it may take."""
        ...


_Answering = Callable[[Request, object, DoorWorker], Awaitable[PrefectAnswer]]


@dataclass(frozen=True, kw_only=True)
class _Deployment:
    id: UUID
    flow_id: UUID
    flow_name: str


class PrefectDoor:
    """Passes on what workers may call. *find_deployment* gives the id of the deployment whose runs they take."""

    def __init__(
        self,
        prefect: PrefectApi,
        find_deployment: Callable[[], Awaitable[UUID]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefect = prefect
        self._find_deployment = find_deployment
        self._clock = clock
        self._deployment: tuple[float, _Deployment] | None = None
        self._held: dict[tuple[str, UUID], float] = {}
        # One for each call: what is not here cannot be passed on.
        self._answering: dict[Call, _Answering] = {
            Call.POOL: self._pool,
            Call.QUEUES: self._queues,
            Call.HEARTBEAT: self._heartbeat,
            Call.SCHEDULED: self._scheduled,
            Call.QUEUE: self._queue,
            Call.DEPLOYMENT: self._read_deployment,
            Call.FLOW: self._read_flow,
            Call.RUN: self._read_run,
            Call.RUNS: self._read_runs,
            Call.CHANGE_RUN: self._change_run,
            Call.LABEL_RUN: self._label_run,
            Call.SET_STATE: self._set_state,
            Call.LOGS: self._logs,
            Call.EVENTS: self._events,
            Call.NEW_ARTIFACT: self._new_artifact,
            Call.CHANGE_ARTIFACT: self._change_artifact,
            Call.RESULT_STORAGE: self._result_storage,
        }

    async def pass_on(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        """Do what *worker* asks for. Raises `Refused`, `PrefectUnavailable`, `DeploymentMissing`."""
        return await self._answering[request.call](request, body, worker)

    async def _pool(self, request: Request, _body: object, _worker: DoorWorker) -> PrefectAnswer:
        return await self._send(request.method, request.path)

    async def _queues(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        return await self._send(request.method, request.path, rules.queues_body(body, worker.labels))

    async def _queue(self, request: Request, _body: object, worker: DoorWorker) -> PrefectAnswer:
        answer = await self._send(request.method, request.path)
        if _is_found(answer) and (
            answer.body.get("work_pool_name") != REMOTE_POOL or answer.body.get("name") not in worker.labels
        ):
            raise Refused("this work queue is not one of this worker's labels")
        return answer

    async def _heartbeat(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        return await self._send(request.method, request.path, rules.heartbeat_body(body, worker.name))

    async def _scheduled(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        answer = await self._send(request.method, request.path, rules.scheduled_body(body, worker.labels))
        if not _is_found(answer):
            return answer
        # A caller with Prefect's credential may put another deployment on a queue of this pool.
        deployment = await self._our_deployment()
        ours = str(deployment.id)
        runs = [one for one in answer.body if one["flow_run"].get("deployment_id") == ours]
        return PrefectAnswer(status=answer.status, body=runs)

    async def _read_deployment(self, request: Request, _body: object, _worker: DoorWorker) -> PrefectAnswer:
        if request.id != (await self._our_deployment()).id:
            raise Refused("workers read the deployment of their own flow runs alone")
        return await self._send(request.method, request.path)

    async def _read_flow(self, request: Request, _body: object, _worker: DoorWorker) -> PrefectAnswer:
        if request.id != (await self._our_deployment()).flow_id:
            raise Refused("workers read the flow of their own flow runs alone")
        return await self._send(request.method, request.path)

    async def _read_run(self, request: Request, _body: object, worker: DoorWorker) -> PrefectAnswer:
        answer = await self._send(request.method, request.path)
        if _is_found(answer):
            run = Run.of(answer.body)
            run.require_belongs((await self._our_deployment()).id, worker.labels)
            run.require_readable(worker.name)
        return answer

    async def _read_runs(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        ids, wanted = rules.runs_body(body)
        # Before Prefect is asked: whether a run is among the found ones says what state it is in.
        for run_id in ids:
            if not self._is_fresh(worker, run_id):
                (await self._look_up(run_id, worker)).require_readable(worker.name)
        return await self._send(request.method, request.path, wanted)

    async def _change_run(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        change = rules.change_body(body)
        await self._require_held(request.id, worker)
        if not change:
            return PrefectAnswer(status=HTTPStatus.NO_CONTENT, body=None)
        return await self._send(request.method, request.path, change)

    async def _label_run(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        labels = rules.labels_body(body, worker.name)
        await self._require_held(request.id, worker)
        return await self._send(request.method, request.path, labels)

    async def _set_state(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        run = await self._look_up(request.id, worker)
        claims, proposal = rules.state_body(body, run)
        if not (claims and run.is_free):
            run.require_held(worker.name)
        answer = await self._send(request.method, request.path, proposal)
        self._held.pop((worker.name, run.id), None)
        if claims and run.is_free and _is_found(answer) and answer.body.get("status") == "ACCEPT":
            # Prefect accepts one claim of a scheduled run alone, so no other request writes this label now.
            await self._send("PATCH", f"/flow_runs/{run.id}/labels", {rules.HOLDER: worker.name})
        return answer

    async def _logs(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        lines = rules.log_lines(body)
        # A worker that was too late for a run has logged that it would begin it; that is no reason to lose the rest.
        lost: set[str] = set()
        for run_id in {line["flow_run_id"] for line in lines}:
            if self._is_fresh(worker, UUID(run_id)):
                continue
            run = await self._look_up(UUID(run_id), worker)
            if not (run.is_free or run.is_held_by(worker.name)):
                lost.add(run_id)
        kept = [line for line in lines if line["flow_run_id"] not in lost]
        if not kept:
            return PrefectAnswer(status=HTTPStatus.CREATED, body=None)
        return await self._send(request.method, request.path, kept)

    async def _events(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        deployment = await self._our_deployment()
        events: list[dict[str, Any]] = []
        for run_id in dict.fromkeys(rules.heartbeat_events(body)):
            answer = await self._send("GET", f"/flow_runs/{run_id}")
            if not _is_found(answer):
                continue
            run = Run.of(answer.body)
            run.require_belongs(deployment.id, worker.labels)
            run.require_held(worker.name)
            event = rules.heartbeat_event(answer.body, deployment.flow_name)
            events.append(event | {"id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat()})
        if not events:
            return PrefectAnswer(status=HTTPStatus.NO_CONTENT, body=None)
        return await self._send(request.method, request.path, events)

    async def _new_artifact(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        run_id, artifact = rules.artifact_body(body)
        await self._require_held(run_id, worker)
        return await self._send(request.method, request.path, artifact)

    async def _change_artifact(self, request: Request, body: object, worker: DoorWorker) -> PrefectAnswer:
        change = rules.artifact_change(body)
        artifact = await self._send("GET", request.path)
        if not _is_found(artifact):
            return artifact
        if artifact.body.get("type") != "progress" or artifact.body.get("flow_run_id") is None:
            raise Refused("of artifacts, workers change the progress of their flow runs alone")
        await self._require_held(UUID(artifact.body["flow_run_id"]), worker)
        return await self._send(request.method, request.path, change)

    async def _result_storage(self, _request: Request, _body: object, _worker: DoorWorker) -> PrefectAnswer:
        # Results are not persisted, and a block that holds a place for them may hold its credentials too.
        return PrefectAnswer(status=HTTPStatus.OK, body={"default_result_storage_block_id": None})

    def _is_fresh(self, worker: DoorWorker, run_id: UUID) -> bool:
        return self._clock() - self._held.get((worker.name, run_id), -_RUN_SECONDS) < _RUN_SECONDS

    async def _require_held(self, run_id: UUID, worker: DoorWorker) -> None:
        if not self._is_fresh(worker, run_id):
            (await self._look_up(run_id, worker)).require_held(worker.name)

    async def _look_up(self, run_id: UUID, worker: DoorWorker) -> Run:
        """Return the run, which belongs to the worker's labels. Remembers for a moment that the worker has it."""
        answer = await self._send("GET", f"/flow_runs/{run_id}")
        if not _is_found(answer):
            raise Refused("there is no such flow run")
        run = Run.of(answer.body)
        run.require_belongs((await self._our_deployment()).id, worker.labels)
        if run.holder == worker.name and not run.is_free:
            if len(self._held) >= _MOST_REMEMBERED_RUNS:
                self._held.clear()
            self._held[worker.name, run_id] = self._clock()
        return run

    async def _our_deployment(self) -> _Deployment:
        now = self._clock()
        if self._deployment is None or now - self._deployment[0] >= _DEPLOYMENT_SECONDS:
            deployment_id = await self._find_deployment()
            deployment = await self._send("GET", f"/deployments/{deployment_id}")
            flow_id = deployment.body.get("flow_id") if _is_found(deployment) else None
            flow = await self._send("GET", f"/flows/{flow_id}")
            if not _is_found(flow):
                raise PrefectUnavailable("the deployment of remote stages was removed a moment ago")
            found = _Deployment(id=deployment_id, flow_id=UUID(flow.body["id"]), flow_name=flow.body["name"])
            self._deployment = now, found
        return self._deployment[1]

    async def _send(self, method: str, path: str, body: object = None) -> PrefectAnswer:
        async with self._client() as client:
            response = await _request(client, method, path, body)
        if len(response.content) > _MOST_ANSWER_BYTES:
            raise PrefectUnavailable(f"an answer of the Prefect server has more than {_MOST_ANSWER_BYTES} bytes")
        content = response.json() if response.content and response.status_code < HTTPStatus.BAD_REQUEST else None
        return PrefectAnswer(status=response.status_code, body=content)

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[PrefectClient]:
        try:
            async with self._prefect.client() as client:
                yield client
        except ObjectNotFound as error:  # only Prefect's own methods raise it, and none is called here
            raise PrefectUnavailable("the Prefect server answers in a way that is not understood") from error


async def _request(client: PrefectClient, method: str, path: str, body: object) -> httpx.Response:
    """Return Prefect's response; also one that the request is wrong, which is for the worker to read."""
    given: Mapping[str, Any] = {} if body is None else {"json": body}
    try:
        return await client.request(cast("Any", method), cast("Any", path), **given)
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise PrefectUnavailable(REFUSED) from error
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise
        return error.response


def _is_found(answer: PrefectAnswer) -> bool:
    return answer.status < HTTPStatus.BAD_REQUEST
