"""Events of a run's states.

Built from what Prefect's API returns, never from objects of this process: hooks and reconciler build the same event.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType

from blocks.catalog import RunCounts
from blocks.redaction import redacted_source, without_password, without_signature
from blocks.runtime.in_words import shortened
from blocks.webhooks.outbox import Event, sequence_of, state_event_id

# Flows whose runs have events. Runs of the other flows, such as the one that delivers webhooks, are no tasks of a user,
# and an event for each of their states would cause another delivery.
REPORTED_FLOWS = ("process-documents",)
# All flows of this project: the API shows their runs, and no others of the same Prefect server.
OUR_FLOWS = (
    *REPORTED_FLOWS,
    "export-table",
    "deliver-webhooks",
    "reconcile-events",
    "expire-artifacts",
    "trim-history",
    "run-stage",
    "process-slice",
    "watch-source",
    "forget-document",
)
# Their runs are left out of the recent events: one every five minutes would hide those of documents.
MAINTENANCE_FLOWS = ("expire-artifacts", "trim-history", "watch-source")

EVENT_TYPES: Mapping[StateType, str] = {
    StateType.RUNNING: "task_started",
    StateType.COMPLETED: "task_completed",
    StateType.FAILED: "task_failed",
    StateType.CANCELLED: "task_cancelled",
    StateType.CRASHED: "task_crashed",
}
# Events of these states have the run's counts from the catalogue.
WITH_RESULT = frozenset({StateType.COMPLETED, StateType.FAILED})
_WITH_ERROR = frozenset({StateType.FAILED, StateType.CRASHED})

# A message is a sentence; one that lists a thousand failed documents would fill the body.
_MAX_MESSAGE_CHARS = 1000


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """What a state does not say about its run: the attempts so far, the progress (0 to 1), and the counts of files."""

    attempt: int
    progress: float
    counts: RunCounts | None


def has_event(state: State[Any]) -> bool:
    """Whether states of this type have an event."""
    return state.type in EVENT_TYPES


def run_event(run: FlowRun, state: State[Any], details: RunDetails) -> Event:
    """Return the event of *state*, which `has_event`."""
    sources = sources_of(run)
    return Event(
        event_id=state_event_id(state.id),
        event_type=EVENT_TYPES[state.type],
        task_id=run.id,
        source_file=redacted_source(sources[0]) if len(sources) == 1 else None,
        occurred_at=state.timestamp,
        data={
            "status": state.type.value.lower(),
            "message": state_message(state),
            "progress": round(details.progress, 3),
            "result": _result(run.id, details.counts) if details.counts else None,
            "error": {"type": state.name, "message": state_message(state)} if state.type in _WITH_ERROR else None,
            "metadata": {
                "run_name": run.name,
                "attempt": details.attempt,
                "sources": len(sources),
                "state_id": str(state.id),
                "state_name": state.name,
            },
            # An even number: those of the run's documents are odd, so that none of a task's events has that of another.
            "sequence": sequence_of(state.timestamp) & ~1,
        },
    )


def sources_of(run: FlowRun) -> list[str]:
    """Return the run's sources. A client that starts a run through Prefect's API may pass anything."""
    given = cast("object", run.parameters.get("sources"))
    return [str(one) for one in cast("Sequence[object]", given)] if isinstance(given, list) else []


def webhook_url_of(run: FlowRun) -> str | None:
    """Return the URL that the run's parameters name for its events; unchecked."""
    given = cast("object", run.parameters.get("webhook_url"))
    return given if isinstance(given, str) and given else None


def state_message(state: State[Any]) -> str:
    """Return Prefect's message without credentials: an exception's text may quote a URL."""
    text = without_signature(without_password(state.message or state.name or state.type.value))
    return shortened(text, _MAX_MESSAGE_CHARS)


def _result(run_id: UUID, counts: RunCounts) -> dict[str, Any]:
    return {
        "documents": counts.documents,
        "files": counts.files,
        "reused": counts.reused,
        "files_command": f"waybill files list --run {run_id}",
        "status_command": f"waybill status {run_id}",
        "status_path": f"/api/v1/status/{run_id}",
    }
