"""What the process of a run and Dask's workers send each other: plain data that can be pickled."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from blocks.errors import WaybillError
from tasks.job import Job, JobResult


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one job, as the run has them: seconds of processor time and of silence, MiB of memory."""

    stage_timeout_seconds: float
    stage_silence_seconds: float
    stage_memory_mib: int


@dataclass(frozen=True, kw_only=True)
class SentJob:
    """A job without the paths of its run, and its inputs by name. `sent_at` is the catalogue's time of sending."""

    job: Job
    inputs: Mapping[str, bytes]
    stage_version: str
    sent_at: datetime | None

    @classmethod
    def of(cls, job: Job, inputs: Mapping[str, bytes], stage_version: str) -> SentJob:
        """Return *job* as it is sent now. Clocks of machines differ, so a time on this one's is not sent."""
        sent_at = None
        if job.keep is not None:
            then, counted_from = job.keep.now
            sent_at = then + timedelta(seconds=time.monotonic() - counted_from)
        return cls(job=replace(job, files={}), inputs=inputs, stage_version=stage_version, sent_at=sent_at)


@dataclass(frozen=True, kw_only=True)
class SentBatch:
    """Jobs of one stage with equal options, and what each may use. `name` is that of the batch in Dask."""

    name: str
    jobs: tuple[SentJob, ...]
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class Returned:
    """How a job ended. With a result, *output* is what the next stage reads; *sealed* is the same as it is stored."""

    outcome: JobResult | WaybillError
    output: bytes = b""
    sealed: bytes | None = None
