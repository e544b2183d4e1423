"""How long one stage may work on one document: by the processor time of its worker, not by the clock.

A busy machine gives a worker little processor time, and that is no fault of the document. So what counts is what the
worker uses, and a larger document may use more. A worker that uses none, and reports no progress, is stopped by the
clock: it waits for something that does not come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import psutil

from blocks.settings import Settings
from tasks.contract import Services, Stage
from tasks.job import Job

# Between two looks at a worker. A worker is stopped at most that much too late.
LOOK_SECONDS = 0.5
# A worker that works uses this much between two looks that are a minute apart, on however busy a machine; one that
# polls for something a few times a second does not.
_SIGN_OF_WORK_SECONDS = 0.1
# A language model may take its whole time for one answer; what comes around it is quick.
_AROUND_AN_ANSWER_SECONDS = 30.0


class LimitExceeded(Exception):
    """A worker has exceeded its limit; the message says by what, and which setting decides it."""


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """What one stage may use on one document: seconds of processor time, and seconds without a sign of work."""

    cpu_seconds: float
    silence_seconds: float


def time_limit(stage: Stage[Any], job: Job, settings: Settings, services: Services) -> TimeLimit:
    """Return the limit of *job*: that of the run or of the settings, and more for each MiB of its inputs."""
    size = 0
    for path in job.files.values():
        with suppress(OSError):  # one that is gone fails in the stage, with the right error
            size += path.stat().st_size
    silence = settings.stage_silence_seconds
    if services.language_model is not None:
        silence = max(silence, services.language_model.timeout_seconds + _AROUND_AN_ANSWER_SECONDS)
    return TimeLimit(
        cpu_seconds=settings.stage_timeout_seconds * (1.0 + stage.limit_per_mib * size / 2**20), silence_seconds=silence
    )


class MeasuredProcess(Protocol):
    """What is asked of a process: `psutil.Process` is one."""

    def cpu_times(self) -> Any:
        """Return the seconds of processor time that it has used, as `psutil.Process.cpu_times` does."""
        ...


class LimitWatch:
    """Watches the process of one job from now on. Ask it with `check` every `LOOK_SECONDS`."""

    def __init__(
        self, process: MeasuredProcess, limit: TimeLimit, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin to count. Raises `psutil.NoSuchProcess`."""
        self._process = process
        self._limit = limit
        self._clock = clock
        self._at_begin = self._at_sign = self._used()
        self._looked_at = clock()
        self._silent_seconds = 0.0

    def note_progress(self) -> None:
        """Count the silence anew: the worker has reported that it got on."""
        self._silent_seconds = 0.0

    def check(self) -> None:
        """Raise `LimitExceeded` if the job has exceeded its limit. A process that has ended has not."""
        try:
            used = self._used()
        except psutil.NoSuchProcess:
            return
        now = self._clock()
        # Where nothing was looked at for long, this process did not run either: the whole machine slept, say.
        self._silent_seconds += min(now - self._looked_at, 2 * LOOK_SECONDS)
        self._looked_at = now
        if used - self._at_sign >= _SIGN_OF_WORK_SECONDS:
            self._at_sign, self._silent_seconds = used, 0.0
        if used - self._at_begin > self._limit.cpu_seconds:
            raise LimitExceeded(
                f"used more than {self._limit.cpu_seconds:.0f} s of processor time, the limit for its size; if the "
                "document is sound, give the run more (--time-limit 30m, time_limit) or raise "
                "WAYBILL_STAGE_TIMEOUT_SECONDS"
            )
        if self._silent_seconds > self._limit.silence_seconds:
            raise LimitExceeded(
                f"did nothing for {self._limit.silence_seconds:g} s; if it waits for a slow server, raise "
                "WAYBILL_STAGE_SILENCE_SECONDS"
            )

    def _used(self) -> float:
        """Return the processor time of the process and of the children that it has waited for, in seconds."""
        found = self._process.cpu_times()
        children = getattr(found, "children_user", 0.0) + getattr(found, "children_system", 0.0)
        return float(found.user + found.system + children)
