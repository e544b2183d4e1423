"""What the states of a run mean for the uploads that share it: each one's events, with the id of its task.

The run itself reports the end of each document as it comes. Here are its beginning, and the ends that it could not
report: it was cancelled, its process was killed, or the catalogue was away. No event of an upload names another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from prefect.client.schemas.objects import State, StateType

from blocks.catalog import Connection, run_counts
from blocks.runs.upload_task_events import task_event
from blocks.runs.upload_tasks import Ended, UploadTask, end_tasks, tasks_of_key
from blocks.webhooks.outbox import Event

# A crashed run may go on, and then its uploads do.
_ENDS = {StateType.COMPLETED: "completed", StateType.FAILED: "failed", StateType.CANCELLED: "cancelled"}
_WITH_RESULT = frozenset({"completed", "failed"})


async def events_of_uploads(
    connection: Connection, run_key: str, states: Sequence[State[Any]], since: datetime
) -> list[Event]:
    """Return the events that the *states* of a run, oldest first, have for the uploads with its idempotency key.

    Ends the tasks that the run has left open, in the caller's transaction. States before *since* have no event.
    """
    tasks = await tasks_of_key(connection, run_key)
    attempt = 0
    events: list[Event] = []
    for state in states:
        attempt += state.type is StateType.RUNNING
        if state.timestamp < since:
            continue
        if state.type is StateType.RUNNING:
            events += [_event(task, "running", state, attempt) for task in _open_at(tasks, state)]
        elif state.type is StateType.CRASHED:
            events += [_event(task, "crashed", state, attempt) for task in _open_at(tasks, state)]
        elif state.type in _ENDS and state is states[-1]:
            events += await _ends(connection, tasks, state, attempt)
    return events


async def _ends(connection: Connection, tasks: Sequence[UploadTask], state: State[Any], attempt: int) -> list[Event]:
    ended = [
        Ended(task_id=task.task_id, state=_ENDS[state.type], message=_message(state))
        for task in tasks
        if task.ended_at is None
    ]
    events: list[Event] = []
    for task in await end_tasks(connection, ended) if ended else []:
        counts = await run_counts(connection, task.task_id) if task.state in _WITH_RESULT else None
        events.append(
            task_event(
                task,
                task.state,
                task.ended_at or state.timestamp,
                identity=(attempt,) if task.state == "failed" else (),
                message=_message(state),
                progress=1.0 if task.state == "completed" else 0.0,
                counts=counts,
                attempt=attempt,
            )
        )
    return events


def _open_at(tasks: Sequence[UploadTask], state: State[Any]) -> list[UploadTask]:
    return [task for task in tasks if task.ended_at is None or task.ended_at > state.timestamp]


def _event(task: UploadTask, what: str, state: State[Any], attempt: int) -> Event:
    return task_event(
        task, what, state.timestamp, identity=(state.id,), message=_message(state), progress=0.0, attempt=attempt
    )


def _message(state: State[Any]) -> str:
    """Return what the state says of the run as a whole: its own message may name documents of the others."""
    return f"its run is {(state.name or state.type.value).lower()}"
