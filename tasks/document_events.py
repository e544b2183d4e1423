"""The events of a run's documents: completed and failed stages, the completed chain, and progress milestones.

Builds events and counts finished steps; writes nothing. The caller records the events in the transaction that makes
them true (`RunContext.record_events`) and then confirms them; events that were not committed are built again. Each
event's id is computed from what happened, so a run that resumes after a crash reports nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from typing import Any
from uuid import UUID

from blocks.catalog import Artifact
from blocks.redaction import display_source, without_signature
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, Late, computed_event_id, sequence_of
from tasks.contract import Stage
from tasks.document import Deliverable, Document

CUSTODY = "custody"
# Percent of the run's steps; the end is reported by the event of the run itself.
MILESTONES = (25, 50, 75)
# A reason is a sentence or two; one that quotes half a document would fill the body.
_MAX_REASON_CHARS = 1000


# Asked for at each step of each document, for the same few milestones.
@lru_cache(maxsize=256)
def milestone_id(task_id: UUID, attempt: int, percent: int) -> str:
    """Return the id of the event that an attempt of a run is so far."""
    return computed_event_id(task_id, attempt, "progress", percent)


def milestone(
    task_id: UUID, attempt: int, percent: int, *, done: int, steps: int, where: str, at: datetime, sequence: int
) -> Event:
    """Return the event that an attempt of a run has *done* so many of its *steps*: *percent* of them, or more."""
    return Event(
        event_id=milestone_id(task_id, attempt, percent),
        event_type="task_progress",
        task_id=task_id,
        source_file=None,
        occurred_at=at,
        data={
            "status": "running",
            "message": f"{done} of {steps} steps",
            "progress": percent / 100,
            "result": None,
            "error": None,
            "metadata": {"stage": where, "attempt": attempt},
            "sequence": sequence,
        },
    )


class DocumentEvents:
    """Events of one attempt of a run. A step is one document taken into custody, or one document in one stage."""

    def __init__(
        self,
        *,
        run_id: UUID,
        attempt: int,
        documents: int,
        stages: Sequence[Stage[Any]],
        links: EventLinks,
        parent: UUID | None = None,
    ) -> None:
        # Of uploads that share this run, by the file: each is reported as a task of its own.
        self.tasks: Mapping[UUID, UUID] = {}
        # A slice reports as the run that it is a part of.
        self._run_id = parent or run_id
        self._attempt = attempt
        self._documents = documents
        self._stages = stages
        self._links = links
        # A slice of a run does not know how far the others are.
        self._percents = MILESTONES if parent is None else ()
        # Links are signed once at most, for the event of the stage and for that of the chain.
        self._files: dict[UUID, dict[str, Any]] = {}
        self._done: set[tuple[int, str]] = set()
        # Steps of documents that have left the run.
        self._left = 0
        self._confirmed: set[str] = set()
        self._last_sequence = 0

    def taken(self, document: Document, at: datetime) -> list[Event]:
        """Return the events of a stored document: progress milestones only."""
        self._count(document, CUSTODY)
        return self._milestones(document, CUSTODY, at)

    def completed(self, document: Document, stage: Stage[Any], output: Deliverable, at: datetime) -> list[Event]:
        """Return the events of a document that has *output* of *stage*; with the last stage, that of the chain too."""
        self._count(document, stage.name)
        delivered = {**document.outputs, stage.name: output}
        events = [
            self._event(
                "stage_completed",
                document,
                at,
                {
                    "stage": _stage_data(stage, "completed", output.seconds),
                    "output_files": [self._file(output.artifact)],
                    "metadata": dict(output.artifact.metadata),
                    "context": {
                        **self._context(document),
                        "reused": output.reused,
                        **({"worker": output.worker} if output.worker else {}),
                    },
                },
                stage.name,
            ),
            *self._milestones(document, stage.name, at),
        ]
        if all(one.name in delivered for one in self._stages):
            events.append(self._chain(document, delivered, at))
        return events

    def failed(self, document: Document, at: datetime) -> list[Event]:
        """Return the events of a document that failed for good: of the stage it failed in, and of the chain."""
        where, reason = document.failed_in or "", _reason(document)
        self._count(document, CUSTODY, *(stage.name for stage in self._stages))
        stage = next((one for one in self._stages if one.name == where), None)
        return [
            self._event(
                "stage_failed",
                document,
                at,
                {
                    "stage": _stage_data(stage, "failed", 0.0, reason, name=where),
                    "output_files": [],
                    "metadata": {"error_type": type(document.error).__name__},
                    "context": self._context(document),
                },
                where,
                self._attempt,
            ),
            *self._milestones(document, where, at),
            self._chain(document, document.outputs, at, reason=reason),
        ]

    def confirm(self, events: Sequence[Event]) -> None:
        """Note that *events* have been committed."""
        self._confirmed.update(event.event_id for event in events if event.event_type == "task_progress")

    def leave(self, document: Document) -> None:
        """Note that *document* has no further events: its steps stay counted, and nothing else of it is kept."""
        steps = {(document.index, step) for step in (CUSTODY, *(stage.name for stage in self._stages))} & self._done
        self._done -= steps
        self._left += len(steps)

    def _chain(
        self, document: Document, delivered: Mapping[str, Deliverable], at: datetime, reason: str | None = None
    ) -> Event:
        stages = [_chain_stage(stage, delivered, document.failed_in, reason) for stage in self._stages]
        files = [self._file(one.artifact) for one in delivered.values()]
        for one in delivered.values():
            self._files.pop(one.artifact.file_id, None)
        data = {
            "overall_success": reason is None,
            "total_execution_time": round(sum(stage["execution_time"] for stage in stages), 4),
            "stages": stages,
            "output_files": files,
            "metadata": {"error_message": reason},
            "context": self._context(document),
        }
        # Each attempt that fails is an event of its own; success is one event in all attempts.
        outcome = ("completed",) if reason is None else ("failed", self._attempt)
        return self._event("stage_chain_completed", document, at, data, *outcome)

    def _milestones(self, document: Document, where: str, at: datetime) -> list[Event]:
        """Return every milestone that the run has passed and not reported; several when progress jumps."""
        task_id, is_alone = self._task_of(document), self._is_alone(document)
        steps = (len(self._stages) + 1) * (1 if is_alone else self._documents)
        done = self._left + len(self._done)
        if task_id != self._run_id:
            done = sum(index == document.index for index, _ in self._done)
        events: list[Event] = []
        for percent in self._percents:
            if 100 * done < percent * steps or milestone_id(task_id, self._attempt, percent) in self._confirmed:
                continue
            event = milestone(
                task_id, self._attempt, percent, done=done, steps=steps, where=where, at=at, sequence=self.sequence(at)
            )
            events.append(replace(event, source_file=_source(document)) if is_alone else event)
        return events

    def _task_of(self, document: Document) -> UUID:
        """Return the id under which *document* is reported: of its upload's task, else of the run."""
        file_id = document.source.file_id
        return self._run_id if file_id is None else self.tasks.get(file_id, self._run_id)

    def _is_alone(self, document: Document) -> bool:
        return self._documents == 1 or self._task_of(document) != self._run_id

    def sequence(self, at: datetime) -> int:
        """Return a number greater than those of all events that were built before: one transaction has one time."""
        # Two further each time: the events of the run itself have the even numbers.
        self._last_sequence = max(self._last_sequence + 2, sequence_of(at) | 1)
        return self._last_sequence

    def _count(self, document: Document, *steps: str) -> None:
        self._done.update((document.index, step) for step in steps)

    def _event(
        self, event_type: str, document: Document, at: datetime, data: Mapping[str, Any], *identity: object
    ) -> Event:
        return Event(
            event_id=computed_event_id(self._run_id, event_type, document.source.text, *identity),
            event_type=event_type,
            task_id=self._task_of(document),
            source_file=_source(document),
            occurred_at=at,
            data={**data, "sequence": self.sequence(at)},
        )

    def _file(self, artifact: Artifact) -> dict[str, Any]:
        if artifact.file_id not in self._files:
            self._files[artifact.file_id] = {
                "filename": artifact.filename,
                "file_id": str(artifact.file_id),
                "download_url": Late(partial(self._links.to_file, artifact)),
                "size": artifact.size,
                "sha256": artifact.sha256,
                "media_type": artifact.media_type,
                "expires_at": artifact.expires_at.isoformat(),
            }
        return self._files[artifact.file_id]

    def _context(self, document: Document) -> dict[str, Any]:
        return {
            "attempt": self._attempt,
            "document": document.label,
            "document_sha256": document.info.sha256 if document.info else None,
            # The metadata that the client sent with the document, for the receiver to recognise it by.
            "source_metadata": dict(document.upload.artifact.metadata) if document.upload else {},
        }


def _source(document: Document) -> str:
    """Return the source with credentials removed, because events go to webhook receivers."""
    return without_signature(document.info.source if document.info else display_source(document.source.text))


def _reason(document: Document) -> str:
    return without_signature(document.error.message)[:_MAX_REASON_CHARS] if document.error else ""


def _stage_data(
    stage: Stage[Any] | None, status: str, seconds: float, reason: str | None = None, *, name: str = CUSTODY
) -> dict[str, Any]:
    """Return an event's description of a stage; a document that intake refuses has failed in number 0, *name*."""
    return {
        "number": stage.number if stage else 0,
        "name": stage.name if stage else name,
        "status": status,
        "execution_time": round(seconds, 4),
        "error_message": reason,
    }


def _chain_stage(
    stage: Stage[Any], delivered: Mapping[str, Deliverable], failed_in: str | None, reason: str | None
) -> dict[str, Any]:
    if stage.name in delivered:
        return _stage_data(stage, "completed", delivered[stage.name].seconds)
    if stage.name == failed_in:
        return _stage_data(stage, "failed", 0.0, reason)
    return _stage_data(stage, "skipped", 0.0)
