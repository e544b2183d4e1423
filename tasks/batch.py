"""Jobs in batches: what a pool and a worker process send each other, and who has which job.

A batch is one message with several jobs of one stage. In addition, a pipe holds one byte for each job, its claim, and
both sides hold the reading end: the side that reads the byte has the job. The kernel gives a byte to one reader only,
so a pool can take back what the process has not begun, at any moment and without asking it; and when the process is
dead, what is still in the pipe was never begun.

A process answers each job as it ends. It claims the next one afterwards, so one job is under way at a time, except for
a stage that takes several documents together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from blocks.errors import StageFailed, StageOutOfMemory, WaybillError
from tasks.job import Job, JobResult

# Enough that what a message costs is small for each of its jobs; few enough that they are soon answered.
MAX_JOBS = 16
# A claim is a byte. Two batches in sequence have no number in common.
NUMBERS = 256
# After these a process takes no further job: it may have its memory used up, or a library half imported.
SPOILS_PROCESS = (StageOutOfMemory, StageFailed)


@dataclass(frozen=True)
class Batch:
    """Jobs of one stage with equal options, by their numbers, in the order in which they are claimed."""

    jobs: Mapping[int, Job]


@dataclass(frozen=True)
class Answer:
    """How the job with this number ended."""

    number: int
    outcome: JobResult | WaybillError


def claim(claims: Connection, count: int) -> list[int]:
    """Take up to *count* jobs that neither side has taken; none when none is left. Does not wait."""
    try:
        return list(os.read(claims.fileno(), count))
    except BlockingIOError:
        return []
