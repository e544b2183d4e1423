"""A job: one stage on one document, in the form in which it is sent to where it runs.

Plain data that can be pickled, so that a run does not depend on where a `StageRunner` (`tasks.runners`) runs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from blocks.errors import Transient
from tasks.contract import DocumentInfo

if TYPE_CHECKING:
    from blocks.custody.sealing import Filled, KeepOrder


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to run, on which inputs, with which options, and the local file to write.

    Inputs by name: *files* are local copies, *inputs* the ids of files in custody for a runner that fetches none here.
    *warnings* are of earlier attempts; the job reports them with its own. *keep* says what to store the output under.
    *requests_at_once* bounds the requests to the language model, where a limit of Prefect does.
    """

    stage_name: str
    stage_key: str
    document: DocumentInfo
    files: Mapping[str, Path]
    options: Mapping[str, Any]
    target: Path
    inputs: Mapping[str, UUID] = field(default_factory=dict[str, UUID])
    warnings: tuple[str, ...] = ()
    keep: KeepOrder | None = None
    requests_at_once: int | None = None


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job reports; the output itself is in `Job.target`. *worker* is the remote worker that has done it.

    *filled* is what it has stored; without it, the output is still to be stored.
    """

    seconds: float
    peak_memory_bytes: int
    metadata: Mapping[str, Any]
    warnings: tuple[str, ...]
    worker: str | None = None
    filled: Filled | None = None

    @property
    def stored_metadata(self) -> dict[str, Any]:
        """The metadata of the output, which lists and events carry: that of the stage, and its warnings if any."""
        return {**({"warnings": list(self.warnings)} if self.warnings else {}), **self.metadata}

    def stored_report(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return the report on the output: what was *known* before, and what the job reports."""
        return {
            **known,
            "seconds": round(self.seconds, 4),
            "worker_peak_memory_bytes": self.peak_memory_bytes,
            "warnings": list(self.warnings),
            **({"worker": self.worker} if self.worker else {}),
        }


class RunnerUnavailable(Transient):
    """What runs stages on other machines does not answer now."""


class StageRunner(Protocol):
    """Runs jobs within limits of time and memory, concurrently if it can.

    `tasks.runners` opens the one of a run; it is closed, and all that it does ended, with that block.
    """

    async def run(self, job: Job) -> JobResult:
        """Run *job*, write `job.target`, and return what it has cost, and what of it was stored.

        Raises the stage's error, or an error of `blocks.errors` for its end. To cancel the job, cancel the caller:
        when it ends, the job stores nothing any more.
        """
        ...
