"""The events of an upload that shares a run, in the form of a run's own, with the id of its task.

Builds events and writes nothing. An event's id is computed from what happened, so that nothing is recorded twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from blocks.catalog import RunCounts
from blocks.redaction import redacted_source
from blocks.runs.upload_tasks import UploadTask
from blocks.webhooks.outbox import Event, computed_event_id, sequence_of

TASK_EVENTS: Mapping[str, str] = {
    "running": "task_started",
    "completed": "task_completed",
    "failed": "task_failed",
    "cancelled": "task_cancelled",
    "crashed": "task_crashed",
}
_WITH_ERROR = frozenset({"failed", "crashed"})


def task_event(
    task: UploadTask,
    state: str,
    at: datetime,
    *,
    identity: tuple[object, ...],
    message: str,
    progress: float,
    counts: RunCounts | None = None,
    attempt: int = 1,
    sequence: int | None = None,
) -> Event:
    """Return the event of *task* that is now in *state*; *identity* makes it the same however often it is built."""
    return Event(
        event_id=computed_event_id(task.task_id, state, *identity),
        event_type=TASK_EVENTS[state],
        task_id=task.task_id,
        source_file=redacted_source(task.source_file),
        occurred_at=at,
        data={
            "status": state,
            "message": message,
            "progress": round(progress, 3),
            "result": _result(task, counts) if counts is not None else None,
            "error": {"type": state.capitalize(), "message": message} if state in _WITH_ERROR else None,
            "metadata": {
                "run_name": task.filename,
                "attempt": attempt,
                "sources": 1,
                "run_id": str(task.run_id) if task.run_id is not None else None,
                "state_name": state.capitalize(),
            },
            # As of a run's own: an even number, where those of its document are odd.
            "sequence": sequence if sequence is not None else sequence_of(at) & ~1,
        },
    )


def _result(task: UploadTask, counts: RunCounts) -> dict[str, Any]:
    return {
        "documents": counts.documents,
        "files": counts.files,
        "reused": counts.reused,
        "files_command": f"waybill files list --run {task.task_id}",
        "status_command": f"waybill status {task.task_id}",
        "status_path": f"/api/v1/status/{task.task_id}",
    }
