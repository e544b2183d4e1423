"""A run's history out of what Prefect keeps of it: its states, and where its stage tasks began and ended.

Owns how far the run was at each moment, which Prefect does not keep: it is counted from the tasks that had ended by
then, and from the progress that had been reported by then. It never falls, and is never that of a later moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from prefect.client.schemas.objects import State, StateType, TaskRun

from blocks.runs.progress import Reported
from blocks.runs.run_events import state_message

# States before the flow's first line: nothing can have been done yet.
NOT_BEGUN = frozenset({StateType.SCHEDULED, StateType.PENDING})
# A task that ended like this has done its part of the run: documents that failed in it go no further.
DONE = frozenset({StateType.COMPLETED, StateType.FAILED})
_ENDED = DONE | {StateType.CANCELLED, StateType.CRASHED}


@dataclass(frozen=True, kw_only=True)
class Records:
    """What Prefect has on a run. *planned*: tasks of one attempt, None where it is not known. *left_out*: tasks that
    have ended and are older than those given."""

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
        """As commands and the API show it."""
        return {
            "timestamp": utc_text(self.at),
            "status": self.status,
            "progress": round(self.progress, 3),
            "message": self.message,
            "metadata": dict(self.metadata),
        }


def history_of(records: Records) -> list[Entry]:
    """The whole history, newest first."""
    entries = [_of_state(state) for state in records.states]
    entries += [entry for task in records.tasks for entry in _of_task(task)]
    entries.sort(key=lambda entry: (entry.at, entry.entry_id))
    return list(_with_progress(entries, records))[::-1]


def utc_text(moment: datetime) -> str:
    """One zone and one form for all, so that they sort by text."""
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
    """Its beginning and, if it has ended, its end. What it went through in between Prefect tells of each task alone."""
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
    if state is None or task.end_time is None or state.type not in _ENDED:
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
    """*entries*, oldest first, each with how far the run was."""
    reported = sorted(records.reported, key=lambda one: one.at)
    last = max(records.states, key=lambda state: state.timestamp, default=None)
    tasks = records.planned or _planned_at_the_end(records, last)
    done, begun, furthest = Counter[int](), False, 0.0
    for entry in entries:
        if entry.ends_in_attempt is not None and tasks:
            done[entry.ends_in_attempt] += 1
            furthest = max(furthest, min(1.0, (records.left_out + done[entry.ends_in_attempt]) / tasks))
        # The last word of a run is told before its last state, but by another machine's clock.
        at_its_end = last is not None and last.type in _ENDED and entry.entry_id == last.id
        while reported and (at_its_end or reported[0].at <= entry.at):
            furthest = max(furthest, min(1.0, reported.pop(0).progress))
        if entry.state is StateType.COMPLETED:
            furthest = 1.0
        begun = begun or entry.state not in NOT_BEGUN
        yield replace(entry, progress=furthest if begun else 0.0)


def _planned_at_the_end(records: Records, last: State[Any] | None) -> int | None:
    """How many tasks an attempt had, for a run that noted no plan: known once it has been through all of them."""
    if last is None or last.type is not StateType.COMPLETED:
        return None
    return records.left_out + max(Counter(task.flow_run_run_count for task in records.tasks).values(), default=0)
