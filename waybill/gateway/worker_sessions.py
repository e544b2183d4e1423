"""Who a remote worker is, as its session says; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """An enrolled worker. Its *labels* are the names of the work queues whose runs it may take."""

    name: str
    labels: frozenset[str]


class WorkerSessions(Protocol):
    """The sessions of remote workers."""

    async def check(self, token: str) -> WorkerIdentity | None:
        """Return the worker whose session *token* is; None for one that is unknown, expired or revoked."""
        ...
