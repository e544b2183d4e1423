"""What consumers are told of a run's states; pure.

Builds an event from a run and one of its states as Prefect's API gives them, never from objects of the process that
happens to look: so whoever writes the event first, a hook or the reconciler, writes the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State, StateType

from blocks.catalog import RunCounts
from blocks.redaction import redacted_source, without_password, without_signature
from blocks.webhooks.outbox import Event, sequence_of, state_event_id

# Runs of other flows of this project, such as the one that delivers webhooks, are nobody's task; telling of them would
# make a delivery of every delivery.
REPORTED_FLOWS = ("process-documents",)
# All flows of this project: of their runs the API gives account, and of nobody else's on the same Prefect server.
OUR_FLOWS = (*REPORTED_FLOWS, "deliver-webhooks", "reconcile-events")

EVENT_TYPES: Mapping[StateType, str] = {
    StateType.RUNNING: "task_started",
    StateType.COMPLETED: "task_completed",
    StateType.FAILED: "task_failed",
    StateType.CANCELLED: "task_cancelled",
    StateType.CRASHED: "task_crashed",
}
# After these the catalogue says what was made.
WITH_RESULT = frozenset({StateType.COMPLETED, StateType.FAILED})
_WITH_ERROR = frozenset({StateType.FAILED, StateType.CRASHED})

# A message is a sentence; one that names a thousand failed documents would fill the body.
_MAX_MESSAGE_CHARS = 1000


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a state does not say of its run: its number of attempts so far, 0 to 1 of its work, what was made."""

    attempt: int
    progress: float
    counts: RunCounts | None


def has_event(state: State[Any]) -> bool:
    """Whether there is an event for states of this kind."""
    return state.type in EVENT_TYPES


def run_event(run: FlowRun, state: State[Any], standing: Standing) -> Event:
    """The event that tells of *state*. Only for states that are told."""
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
            "progress": round(standing.progress, 3),
            "result": _result(run.id, standing.counts) if standing.counts else None,
            "error": {"type": state.name, "message": state_message(state)} if state.type in _WITH_ERROR else None,
            "metadata": {
                "run_name": run.name,
                "attempt": standing.attempt,
                "sources": len(sources),
                "state_id": str(state.id),
                "state_name": state.name,
            },
            "sequence": sequence_of(state.timestamp),
        },
    )


def sources_of(run: FlowRun) -> list[str]:
    """The sources that the run was given; whoever starts it through the API may give anything."""
    given = cast("object", run.parameters.get("sources"))
    return [str(one) for one in cast("Sequence[object]", given)] if isinstance(given, list) else []


def webhook_url_of(run: FlowRun) -> str | None:
    """Where the run itself asks to be told about, as it was given."""
    given = cast("object", run.parameters.get("webhook_url"))
    return given if isinstance(given, str) and given else None


def state_message(state: State[Any]) -> str:
    """What Prefect says of the state. An exception's text may quote the URL it choked on."""
    text = without_signature(without_password(state.message or state.name or state.type.value))
    return text if len(text) <= _MAX_MESSAGE_CHARS else f"{text[: _MAX_MESSAGE_CHARS - 1]}…"


def _result(run_id: UUID, counts: RunCounts) -> dict[str, Any]:
    return {
        "documents": counts.documents,
        "files": counts.files,
        "reused": counts.reused,
        "files_command": f"waybill files list --run {run_id}",
        "status_command": f"waybill status {run_id}",
        "status_path": f"/api/v1/status/{run_id}",
    }
