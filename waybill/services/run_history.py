"""A run's history out of what Prefect keeps of it: its states, and where its stage tasks began and ended.

Owns the progress at each entry, which Prefect does not keep: it is computed from the tasks that had ended and from the
progress that was reported by then. It never decreases, and never includes later reports.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from prefect.client.schemas.objects import TERMINAL_STATES, State, StateType, TaskRun

from blocks.runs.progress import Reported
from blocks.runs.run_events import state_message

# States before the flow's first line: no work can be done yet.
NOT_BEGUN = frozenset({StateType.SCHEDULED, StateType.PENDING})
# A task that ended in one of these has done its part of the run: later stages skip documents that failed in it.
DONE = frozenset({StateType.COMPLETED, StateType.FAILED})


@dataclass(frozen=True, kw_only=True)
class Records:
    """What Prefect has recorded of a run. *planned*: tasks of one attempt, None if unknown. *left_out*: tasks that have
    ended and are older than *tasks*."""

    states: Sequence[State[Any]]
    tasks: Sequence[TaskRun]
    reported: Sequence[Reported]
    planned: int | None
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the history. *entry_id* is the same each time the history is read."""

    at: datetime
    entry_id: UUID
    status: str
    message: str | None
    metadata: Mapping[str, Any]
    progress: float = 0.0
    state: StateType | None = None
    ends_in_attempt: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry as commands and the API show it."""
        return {
            "timestamp": utc_text(self.at),
            "status": self.status,
            "progress": round(self.progress, 3),
            "message": self.message,
            "metadata": dict(self.metadata),
        }


def history_of(records: Records) -> list[Entry]:
    """Return the whole history, newest first."""
    entries = [_of_state(state) for state in records.states]
    entries += [entry for task in records.tasks for entry in _of_task(task)]
    entries.sort(key=lambda entry: (entry.at, entry.entry_id))
    return list(_with_progress(entries, records))[::-1]


def utc_text(moment: datetime) -> str:
    """Return *moment* in UTC, always in the same form, so that the texts sort by time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _of_state(state: State[Any]) -> Entry:
    return Entry(
        at=state.timestamp,
        entry_id=state.id,
        status=state.type.value.lower(),
        message=state_message(state),
        metadata={"state_id": str(state.id), "state_name": state.name},
        state=state.type,
    )


def _of_task(task: TaskRun) -> Iterator[Entry]:
    """Yield the start of a task and, if it has ended, its end: the states in between would take a request a task."""
    if task.start_time is None:
        return
    about = {"stage": task.name, "task_run_id": str(task.id)}
    yield Entry(
        at=task.start_time,
        entry_id=uuid5(task.id, "began"),
        status=StateType.RUNNING.value.lower(),
        message=f"{task.name} began",
        metadata={**about, "state_name": "Running"},
    )
    state = task.state
    if state is None or task.end_time is None or state.type not in TERMINAL_STATES:
        return
    yield Entry(
        at=task.end_time,
        entry_id=uuid5(task.id, "ended"),
        status=state.type.value.lower(),
        message=f"{task.name}: {state_message(state)}",
        metadata={**about, "state_name": state.name, "seconds": round(task.total_run_time.total_seconds(), 3)},
        ends_in_attempt=task.flow_run_run_count if state.type in DONE else None,
    )


def _with_progress(entries: Iterable[Entry], records: Records) -> Iterator[Entry]:
    """Yield *entries*, oldest first, each with the progress of the run."""
    reported = sorted(records.reported, key=lambda one: one.at)
    last = max(records.states, key=lambda state: state.timestamp, default=None)
    tasks = records.planned or _planned_at_the_end(records, last)
    done, begun, furthest = Counter[int](), False, 0.0
    for entry in entries:
        if entry.ends_in_attempt is not None and tasks:
            done[entry.ends_in_attempt] += 1
            furthest = max(furthest, min(1.0, (records.left_out + done[entry.ends_in_attempt]) / tasks))
        # A run reports last before its last state, but timestamps are of two machines' clocks.
        at_its_end = last is not None and last.type in TERMINAL_STATES and entry.entry_id == last.id
        while reported and (at_its_end or reported[0].at <= entry.at):
            furthest = max(furthest, min(1.0, reported.pop(0).progress))
        if entry.state is StateType.COMPLETED:
            furthest = 1.0
        begun = begun or entry.state not in NOT_BEGUN
        yield replace(entry, progress=furthest if begun else 0.0)


def _planned_at_the_end(records: Records, last: State[Any] | None) -> int | None:
    """Return the number of tasks of an attempt, for a run without a plan: known once the run has completed."""
    if last is None or last.type is not StateType.COMPLETED:
        return None
    return records.left_out + max(Counter(task.flow_run_run_count for task in records.tasks).values(), default=0)
