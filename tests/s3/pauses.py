"""How long the product itself waits between attempts: without what a busy machine adds to each of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest

from blocks.storage.s3 import connection, deletion


@dataclass
class Pauses:
    """The pauses that were begun, as beginning and end."""

    intervals: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    @property
    def seconds(self) -> float:
        """All of them together; pauses at the same time, as of two parts of an upload, count once."""
        total, until = 0.0, 0.0
        for begin, end in sorted(self.intervals):
            total += max(0.0, end - max(begin, until))
            until = max(until, end)
        return total


def watch_pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Note each pause from now on, with the length that was asked for."""
    found, pause = Pauses(), connection.short_pause

    async def noted(seconds: float) -> None:
        began = time.monotonic()
        found.intervals.append((began, began + seconds))
        await pause(seconds)

    for module in (connection, deletion):
        monkeypatch.setattr(module, "short_pause", noted)
    return found
