"""What a remote worker may call of Prefect's API, and with which bodies; pure.

A request is never passed on as it came. Its path is taken apart and put together again from known parts, and its body
is written anew from the fields that are listed here: what is not listed does not pass. ADR 0022 says why.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, cast
from uuid import UUID

from blocks.json_cleaning import storable_text
from blocks.runs.remote_stages import HEARTBEAT_EVENT, REMOTE_POOL

# The label of a flow run by which Prefect's own workers say who has it; the door writes it for them.
HOLDER = "prefect.worker.name"

_POOL_PATH = f"/work_pools/{REMOTE_POOL}"
_ID = "([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
# Prefect's own limit of a page.
_PAGE = 200
# A worker looks after the few runs that it has.
_MOST_RUNS = 100
_MOST_LOG_LINES = 5_000
_NAME_CHARACTERS = 200
# An exception's message is part of its state; its traceback is a log line.
_MESSAGE_CHARACTERS = 10_000
_LOG_CHARACTERS = 100_000
_LONGEST_HEARTBEAT_SECONDS = 300
# What a run goes through at a worker. A worker never schedules, pauses or begins to cancel one.
_STATES = frozenset({"PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
# Prefect's worker, and a flow run's process that is ended, do not ask whether the run may end now: it has.
_FORCED = frozenset({"FAILED", "CRASHED", "CANCELLED"})
_CLAIM = "PENDING"
_FREE = "SCHEDULED"


class Refused(Exception):
    """The worker may not do this; the message says why, for people."""


class Call(Enum):
    """A call that is let through: method and path."""

    POOL = "GET", _POOL_PATH
    QUEUES = "POST", f"{_POOL_PATH}/queues/filter"
    HEARTBEAT = "POST", f"{_POOL_PATH}/workers/heartbeat"
    SCHEDULED = "POST", f"{_POOL_PATH}/get_scheduled_flow_runs"
    QUEUE = "GET", f"/work_queues/{_ID}"
    DEPLOYMENT = "GET", f"/deployments/{_ID}"
    FLOW = "GET", f"/flows/{_ID}"
    RUN = "GET", f"/flow_runs/{_ID}"
    RUNS = "POST", "/flow_runs/filter"
    CHANGE_RUN = "PATCH", f"/flow_runs/{_ID}"
    LABEL_RUN = "PATCH", f"/flow_runs/{_ID}/labels"
    SET_STATE = "POST", f"/flow_runs/{_ID}/set_state"
    LOGS = "POST", "/logs/"
    EVENTS = "POST", "/events"
    NEW_ARTIFACT = "POST", "/artifacts/"
    CHANGE_ARTIFACT = "PATCH", f"/artifacts/{_ID}"
    RESULT_STORAGE = "GET", "/admin/storage"


_PATTERNS = [(call, call.value[0], re.compile(call.value[1])) for call in Call]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A call with the id in its path, if it has one."""

    call: Call
    subject: UUID | None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.call.value[0]

    @property
    def path(self) -> str:
        """The path at Prefect, below its ``/api``."""
        return self.call.value[1].replace(_ID, str(self.subject))

    @property
    def id(self) -> UUID:
        """The id in the path of a call that has one."""
        if self.subject is None:
            raise ValueError(f"{self.call.name} has no id")
        return self.subject


def request_of(method: str, path: str) -> Request:
    """Return what *method* and *path* ask for. *path* is as it was sent, not decoded. Raises `Refused`."""
    for call, wanted, pattern in _PATTERNS:
        if method == wanted and (found := pattern.fullmatch(path)):
            return Request(call=call, subject=UUID(found[1]) if found.groups() else None)
    raise Refused("workers may not call this part of Prefect's API")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What decides about a flow run: where it belongs, its state, and the worker that has claimed it."""

    id: UUID
    deployment_id: str | None
    pool: str | None
    queue: str | None
    state: str | None
    holder: str | None

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Run:
        """Return it from Prefect's *answer*."""
        labels = cast("dict[str, Any]", answer.get("labels") or {})
        holder = labels.get(HOLDER)
        return cls(
            id=UUID(str(answer["id"])),
            deployment_id=answer.get("deployment_id"),
            pool=answer.get("work_pool_name"),
            queue=answer.get("work_queue_name"),
            state=answer.get("state_type"),
            holder=None if holder is None else str(holder),
        )

    def require_belongs(self, deployment_id: UUID, labels: Collection[str]) -> None:
        """Raise `Refused` unless this is a run of that deployment, on a queue of the worker's *labels*."""
        is_ours = self.deployment_id == str(deployment_id) and self.pool == REMOTE_POOL and self.queue in labels
        if not is_ours:
            raise Refused("this flow run is not one that this worker may take")

    @property
    def is_free(self) -> bool:
        """Whether any worker of the queue may claim it."""
        return self.state == _FREE

    def is_held_by(self, worker: str) -> bool:
        """Return whether *worker* has it. One that was claimed without a note of the worker counts as its own."""
        return self.holder == worker or (self.holder is None and not self.is_free)

    def require_readable(self, worker: str) -> None:
        """Raise `Refused` for a run that another worker has."""
        if not self.is_free and not self.is_held_by(worker):
            raise Refused("another worker has this flow run")

    def require_held(self, worker: str) -> None:
        """Raise `Refused` unless *worker* has claimed the run."""
        self.require_readable(worker)
        if not self.is_held_by(worker):
            raise Refused("this flow run was not claimed; propose the state PENDING first")


def queues_body(body: object, labels: Collection[str]) -> dict[str, Any]:
    """Return a filter of work queues by the names in *body*, which are all among *labels*; without names, by these."""
    given = _fields(body, "work_queues", "limit", "offset")
    names = _any_of(_fields(given.get("work_queues") or {}, "name").get("name"))
    return {"work_queues": {"name": {"any_": _among(names, labels)}}, "limit": _PAGE, "offset": 0}


def scheduled_body(body: object, labels: Collection[str]) -> dict[str, Any]:
    """Return a request for scheduled runs of the queues in *body*, all among *labels*; without queues, of these."""
    given = _fields(body, "work_queue_names", "scheduled_before", "scheduled_after", "limit")
    wanted: dict[str, Any] = {"work_queue_names": _among(given.get("work_queue_names"), labels), "limit": _MOST_RUNS}
    if (before := given.get("scheduled_before")) is not None:
        wanted["scheduled_before"] = _text(before, _NAME_CHARACTERS)
    return wanted


def heartbeat_body(body: object, worker: str) -> dict[str, Any]:
    """Return a worker's sign of life, which has its own name."""
    given = _fields(body, "name", "heartbeat_interval_seconds", "metadata", "return_id")
    if given.get("name") != worker:
        raise Refused("a worker sends heartbeats under its own name alone")
    seconds = _whole_number(given.get("heartbeat_interval_seconds") or 30, 1, _LONGEST_HEARTBEAT_SECONDS)
    return {"name": worker, "heartbeat_interval_seconds": seconds}


def runs_body(body: object) -> tuple[list[UUID], dict[str, Any]]:
    """Return the ids of the runs that *body* asks for, and the filter: by these ids, and by state if asked for."""
    given = _fields(
        body, "flow_runs", "flows", "task_runs", "deployments", "work_pools", "work_pool_queues", "sort", "limit",
        "offset",
    )  # fmt: skip
    of_runs = _fields(given.get("flow_runs"), "id", "state")
    ids = [_uuid(one) for one in _texts(_any_of(of_runs.get("id")), _MOST_RUNS)]
    if not ids or any(given.get(name) for name in given.keys() - {"flow_runs", "limit"}):
        raise Refused("workers look for flow runs by their ids alone")
    wanted: dict[str, Any] = {"id": {"any_": [str(one) for one in ids]}}
    if of_runs.get("state"):
        by = _fields(of_runs["state"], "type", "name")
        wanted["state"] = {
            name: {"any_": _texts(_any_of(value), _MOST_RUNS)} for name, value in by.items() if value is not None
        }
    return ids, {"flow_runs": wanted, "limit": _PAGE}


def change_body(body: object) -> dict[str, Any]:
    """Return what a worker may change of its run: the process, and the version of the flow.

    How often a run is repeated is not for the worker to say, so that policy is left out.
    """
    given = _fields(body, "infrastructure_pid", "flow_version", "empirical_policy")
    return {
        name: _text(given[name], _NAME_CHARACTERS)
        for name in ("infrastructure_pid", "flow_version")
        if given.get(name) is not None
    }


def labels_body(body: object, worker: str) -> dict[str, Any]:
    """Return the labels by which a worker marks its run; they name *worker*, and nothing that Waybill reads."""
    _fields(body, HOLDER, "prefect.worker.type", "prefect.work-pool.name", "prefect.work-pool.id")
    return {HOLDER: worker, "prefect.worker.type": "process", "prefect.work-pool.name": REMOTE_POOL}


def state_body(body: object, run: Run) -> tuple[bool, dict[str, Any]]:
    """Return whether *body* claims the run, and the proposal of a state.

    Without data: a state can name a file or a block to read a pickled result from, and who asks for the result of a
    run would unpickle what the worker has chosen.
    """
    given = _fields(body, "state", "force")
    state = cast("dict[str, Any]", given.get("state") if isinstance(given.get("state"), dict) else {})
    if not isinstance(state.get("type"), str) or state["type"] not in _STATES:
        raise Refused(f"workers set the states {', '.join(sorted(_STATES))} alone")
    details = state.get("state_details")
    details = cast("dict[str, Any]", details) if isinstance(details, dict) else {}
    kept: dict[str, Any] = {"flow_run_id": str(run.id)}
    if details.get("transition_id") is not None:
        kept["transition_id"] = str(_uuid(details["transition_id"]))
    if isinstance(details.get("retriable"), bool):
        kept["retriable"] = details["retriable"]
    message = state.get("message")
    proposal = {
        "type": state["type"],
        "name": _text(state.get("name") or str(state["type"]).title(), _NAME_CHARACTERS),
        "message": None if message is None else _text(message, None)[:_MESSAGE_CHARACTERS],
        "state_details": kept,
    }
    force = given.get("force") is True
    if force and state["type"] not in _FORCED:
        raise Refused(f"workers set the states {', '.join(sorted(_FORCED))} alone by force")
    return state["type"] == _CLAIM, {"state": proposal, "force": force}


def log_lines(body: object) -> list[dict[str, Any]]:
    """Return log lines of flow runs; lines that belong to none are left out."""
    if not isinstance(body, list) or len(cast("list[object]", body)) > _MOST_LOG_LINES:
        raise Refused(f"send a list of {_MOST_LOG_LINES} log lines at most")
    lines: list[dict[str, Any]] = []
    for one in cast("list[object]", body):
        line = _fields(one, "name", "level", "message", "timestamp", "flow_run_id", "task_run_id", "worker_id")
        if line.get("flow_run_id") is None:
            continue
        lines.append(
            {
                "name": _text(line.get("name"), _NAME_CHARACTERS),
                "level": _whole_number(line.get("level"), 0, 1_000),
                "message": _text(line.get("message"), None)[:_LOG_CHARACTERS],
                "timestamp": _text(line.get("timestamp"), _NAME_CHARACTERS),
                "flow_run_id": str(_uuid(line["flow_run_id"])),
            }
        )
    return lines


def heartbeat_events(body: object) -> list[UUID]:
    """Return the runs whose heartbeats *body* lists: ``[{"event": ..., "flow_run_id": ...}]``, nothing else."""
    if not isinstance(body, list) or len(cast("list[object]", body)) > _MOST_RUNS:
        raise Refused(f"send a list of {_MOST_RUNS} events at most")
    events = [_fields(one, "event", "flow_run_id") for one in cast("list[object]", body)]
    if any(one.get("event") != HEARTBEAT_EVENT for one in events):
        raise Refused("of events, workers send the heartbeats of their flow runs alone")
    return [_uuid(one.get("flow_run_id")) for one in events]


def heartbeat_event(run: Mapping[str, Any], flow_name: str) -> dict[str, Any]:
    """Return the event by which Prefect's automations see that *run* is alive, as its own flow engine writes it."""
    tags = [f"prefect.tag.{tag}" for tag in cast("list[str]", run.get("tags") or [])]
    related = [
        {
            "prefect.resource.id": f"prefect.flow.{run['flow_id']}",
            "prefect.resource.role": "flow",
            "prefect.resource.name": flow_name,
        },
        {"prefect.resource.id": f"prefect.deployment.{run['deployment_id']}", "prefect.resource.role": "deployment"},
        *({"prefect.resource.id": tag, "prefect.resource.role": "tag"} for tag in tags),
    ]
    resource = {"prefect.resource.id": f"prefect.flow-run.{run['id']}", "prefect.resource.name": str(run["name"])}
    return {"event": HEARTBEAT_EVENT, "resource": resource, "related": related, "payload": {}}


def artifact_body(body: object) -> tuple[UUID, dict[str, Any]]:
    """Return the run that a new progress artifact belongs to, and the artifact, without a key.

    With one it would become the newest version of whatever else has this key.
    """
    given = _fields(body, "key", "type", "description", "data", "metadata_", "flow_run_id", "task_run_id")
    if given.get("type") != "progress":
        raise Refused("of artifacts, workers write the progress of their flow runs alone")
    run = _uuid(given.get("flow_run_id"))
    return run, {"type": "progress", "flow_run_id": str(run), **_progress(given)}


def artifact_change(body: object) -> dict[str, Any]:
    """Return what a worker may change of its progress artifact."""
    return _progress(_fields(body, "data", "description", "metadata_"))


def _progress(given: Mapping[str, Any]) -> dict[str, Any]:
    data, description = given.get("data"), given.get("description")
    if isinstance(data, bool) or not isinstance(data, int | float) or not 0 <= data <= 100:
        raise Refused("progress is a number from 0 to 100")
    return {"data": data} | ({} if description is None else {"description": _text(description, _MESSAGE_CHARACTERS)})


def _fields(value: object, *known: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused("the body is not what Prefect's worker sends")
    found = cast("dict[str, Any]", value)
    if unknown := found.keys() - set(known):
        raise Refused(f"workers may not send the field {min(unknown)[:_NAME_CHARACTERS]!r} here")
    return found


def _any_of(value: object) -> object:
    return None if value is None else _fields(value, "any_").get("any_")


def _among(names: object, allowed: Collection[str]) -> list[str]:
    chosen = _texts(names, _MOST_RUNS) if names else sorted(allowed)
    if not chosen or not set(chosen) <= set(allowed):
        raise Refused("a worker takes runs of the work queues of its labels alone")
    return chosen


def _texts(value: object, most: int) -> list[str]:
    if not isinstance(value, list) or len(cast("list[object]", value)) > most:
        raise Refused(f"send a list of {most} texts at most")
    return [_text(one, _NAME_CHARACTERS) for one in cast("list[object]", value)]


def _text(value: object, most: int | None) -> str:
    if not isinstance(value, str) or (most is not None and len(value) > most):
        raise Refused("a text in the body is missing, or too long")
    # Prefect answers U+0000 as if its database were away, and the worker would repeat the request without end.
    return storable_text(value, nul="\ufffd")


def _whole_number(value: object, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Refused(f"a number in the body is missing, or not between {least} and {most}")
    return int(value)


def _uuid(value: object) -> UUID:
    try:
        return UUID(_text(value, _NAME_CHARACTERS))
    except ValueError:
        raise Refused("an id in the body is none") from None
