"""A job: one stage on one document, in the form in which it is sent to where it runs.

Plain data that can be pickled, so that a run does not depend on where a `StageRunner` (`tasks.pool`) runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from tasks.contract import DocumentInfo


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, on which inputs, with which options, and the local file to write.

    Inputs by name: *files* are local copies, *inputs* the ids of files in custody for a runner that fetches none here.
    *warnings* are of earlier attempts; the job reports them with its own.
    """

    stage_name: str
    stage_key: str
    document: DocumentInfo
    files: Mapping[str, Path]
    options: Mapping[str, Any]
    target: Path
    inputs: Mapping[str, UUID] = field(default_factory=dict[str, UUID])
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job reports; the output itself is in `Job.target`. *worker* is the remote worker that has done it."""

    seconds: float
    peak_memory_bytes: int
    metadata: Mapping[str, Any]
    warnings: tuple[str, ...]
    worker: str | None = None


class StageRunner(Protocol):
    """Runs jobs within limits of time and memory, concurrently if it can."""

    async def run(self, job: Job) -> JobResult:
        """Run *job* and write `job.target`. Raises the stage's error, or an error of `blocks.errors` for its end."""
        ...
