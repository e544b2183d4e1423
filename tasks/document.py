"""A document in a run, and the files that the run delivers for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.catalog import Artifact
from blocks.errors import StageInputMissing, WaybillError
from tasks.contract import DocumentInfo
from tasks.outline import Outline, outline
from tasks.sources import Source
from tasks.step_counts import StepCounts


@dataclass(frozen=True, kw_only=True)
class Deliverable:
    """One file that a run delivers for a document: made by this run (on the remote *worker*, if any), or reused."""

    artifact: Artifact
    reused: bool
    seconds: float
    worker: str | None = None
    # What the document waited for a worker, besides the seconds of the work.
    waiting_seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the file as ``process --json`` shows it."""
        made_on = {"worker": self.worker} if self.worker else {}
        return {
            **self.artifact.summary(),
            "reused": self.reused,
            "seconds": round(self.seconds, 4),
            "warnings": self.artifact.warnings,
            **made_on,
        }


@dataclass(kw_only=True, eq=False)
class Document:
    """One document in a run, and how far it has come. `index` is its place in the run and names its scratch files."""

    index: int
    source: Source
    label: str
    info: DocumentInfo | None = None
    upload: Deliverable | None = None
    outputs: dict[str, Deliverable] = field(default_factory=dict[str, Deliverable])
    # Local copies, by the name of the stage that made them; removed with the run's scratch folder.
    files: dict[str, Path] = field(default_factory=dict[str, Path])
    # What intake read of a small file, for the stage that reads the document first.
    content: bytes | None = field(default=None, repr=False)
    error: WaybillError | None = None
    failed_in: str | None = None
    failure_recorded: bool = False
    task_run_ids: dict[str, str] = field(default_factory=dict[str, str])
    # Those of the run, which follow what the methods below record.
    counts: StepCounts | None = field(default=None, repr=False)
    _counted_steps: int = field(default=0, init=False, repr=False)
    _retry_at: float = field(default=0.0, init=False, repr=False)

    @property
    def failed(self) -> bool:
        """Whether the document has failed. A transient error counts until it is retried."""
        return self.error is not None

    @property
    def taken(self) -> DocumentInfo:
        """What intake has found out. Raises `StageInputMissing` where the document was never taken into custody."""
        if self.info is None:
            raise StageInputMissing(f"{self.label} was never taken into custody")
        return self.info

    def stored(self, upload: Deliverable) -> None:
        """Record that the document is in custody as *upload*."""
        self.upload = upload
        self._count()

    def deliver(self, stage_name: str, output: Deliverable) -> None:
        """Record that the run delivers *output* of a stage for the document."""
        self.outputs[stage_name] = output
        self._count()

    def fail(self, error: WaybillError, *, where: str) -> None:
        """Record that the document takes no further part in this run, unless it is retried."""
        was_failed = self.failed
        self.error, self.failed_in = error, where
        self._retry_at = time.monotonic() + float(getattr(error, "retry_after_seconds", 0.0))
        self._count(failed=not was_failed)

    def retry(self) -> None:
        """Forget the error of a failed document: it takes part again."""
        self.error = self.failed_in = None
        self._count(failed=-1)

    def _count(self, failed: int = 0) -> None:
        """Have the counts of the run follow; *failed* is the change of the number of failed documents."""
        if self.counts is None:
            return
        steps = self.counts.steps_each if self.failed else (1 if self.upload else 0) + len(self.outputs)
        self.counts.failed += failed
        self.counts.move(self._counted_steps, steps)
        self._counted_steps = steps

    async def pause_before_retry(self) -> None:
        """Wait until the time before which the server of the source asked not to be called again."""
        await asyncio.sleep(self._retry_at - time.monotonic())

    def deliverables(self) -> list[Deliverable]:
        """Return the upload and every output, in stage order."""
        return [*([self.upload] if self.upload else []), *self.outputs.values()]

    def warnings(self) -> list[str]:
        """Return the warnings about every output, in stage order; those about a reused one come from its report."""
        return [warning for output in self.outputs.values() for warning in output.artifact.warnings]

    def outline(self) -> Outline:
        """Return what its outputs say of it, in a few figures."""
        return outline(deliverable.artifact for deliverable in self.deliverables())

    def as_json(self) -> dict[str, Any]:
        """Return the document as ``process --json`` shows it."""
        return {
            "source": self.source.text,
            "sha256": self.info.sha256 if self.info else None,
            "state": "failed" if self.failed else "completed",
            "error": f"{self.failed_in}: {self.error.message}" if self.error else None,
            "error_type": type(self.error).__name__ if self.error else None,
            "outline": self.outline().as_json(),
            "artifacts": [deliverable.as_json() for deliverable in self.deliverables()],
        }
