"""What the long-lived processes of a world hold: memory and descriptors over time, and whether they stay flat."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.world import World

_EVERY_SECONDS = 2.0
_MIB = 1024 * 1024
# Both ends of a calm time are compared: a leak of one descriptor or some KiB for each request shows in a few hundred.
GROWTH_MIB = 24.0
GROWTH_DESCRIPTORS = 8


@dataclass(frozen=True)
class Sample:
    """One process at one moment. *seconds* since the samples began."""

    seconds: float
    role: str
    pid: int
    resident_mib: float
    descriptors: int


class Sampler:
    """Takes samples of a world's processes in a thread, until `stop`."""

    def __init__(self, world: World) -> None:
        self.samples: list[Sample] = []
        self._world = world
        self._began = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> list[Sample]:
        self._ending.set()
        self._thread.join()
        return self.samples

    def _run(self) -> None:
        while not self._ending.wait(_EVERY_SECONDS):
            for role, process in self._world.roles().items():
                with suppress(psutil.Error, OSError):
                    self.samples.append(
                        Sample(
                            time.monotonic() - self._began,
                            role,
                            process.pid,
                            process.memory_info().rss / _MIB,
                            len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
                        )
                    )


# MiB, later MiB, descriptors, later descriptors.
Growth = tuple[float, float, float, float]


def growth(samples: list[Sample], since_seconds: float, until_seconds: float) -> dict[str, Growth]:
    """What each process held between the two: medians of the first and of the last third.

    Not while the last clients come to their ends: that is no calm time, and as long as the machine makes it. A server
    that was started again a moment ago is still growing then.
    """
    calm = [sample for sample in samples if since_seconds <= sample.seconds <= until_seconds]
    found: dict[str, Growth] = {}
    for role in sorted({sample.role for sample in calm}):
        last_pid = [sample.pid for sample in calm if sample.role == role][-1]
        own = [sample for sample in calm if sample.role == role and sample.pid == last_pid]
        third = len(own) // 3
        if third < 3:
            continue
        first, last = own[:third], own[-third:]
        found[role] = (
            statistics.median(sample.resident_mib for sample in first),
            statistics.median(sample.resident_mib for sample in last),
            statistics.median(sample.descriptors for sample in first),
            statistics.median(sample.descriptors for sample in last),
        )
    return found
