"""A remote worker as the catalogue has it, and the rules of names and labels; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from blocks.errors import InvalidOptions
from blocks.json_cleaning import json_value

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
"""Of names and labels. They stand in paths, in tokens and in Prefect's work queues."""

RESERVED_NAMES = ("codes", "enroll", "heartbeat")
"""Paths of the HTTP API where a worker's name would stand."""

# Each is a work queue that the worker asks for work.
MAX_LABELS = 32
MAX_VERSION_CHARS = 64

_NAME = re.compile(NAME_PATTERN.removesuffix("$"))


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One worker. For the columns see migration 0011; times are the database's."""

    name: str
    recipient: str
    labels: tuple[str, ...]
    version: str | None
    address: str | None
    enrolled_at: datetime
    enrolled_by: str
    last_seen_at: datetime | None
    revoked_at: datetime | None
    running: int
    """Assignments that it holds now."""
    seen_lately: bool
    """Whether `last_seen_at` is too recent to be written again."""

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None

    def as_json(self) -> dict[str, Any]:
        """Return the public fields. There is no secret among the others."""
        return {
            "name": self.name,
            "state": "revoked" if self.is_revoked else "active",
            "labels": list(self.labels),
            "recipient": self.recipient,
            "version": self.version,
            "address": self.address,
            "running": self.running,
            "enrolled_by": self.enrolled_by,
            **{name: json_value(getattr(self, name)) for name in ("enrolled_at", "last_seen_at", "revoked_at")},
        }


def check_worker_name(name: str) -> str:
    """Return *name*. Raises `InvalidOptions` unless a worker may have it."""
    if _NAME.fullmatch(name) is None:
        raise InvalidOptions(
            "a worker's name has 1 to 63 lower-case letters, digits, dots, dashes and underscores, and begins with a "
            "letter or a digit"
        )
    if name in RESERVED_NAMES:
        raise InvalidOptions(f"no worker is called {', '.join(RESERVED_NAMES)}; choose another name")
    return name


def check_labels(labels: Sequence[str]) -> list[str]:
    """Return *labels* in order, each once. Raises `InvalidOptions`."""
    for label in labels:
        if _NAME.fullmatch(label) is None:
            raise InvalidOptions(
                "a label has 1 to 63 lower-case letters, digits, dots, dashes and underscores, and begins with a "
                "letter or a digit, such as gpu-pool"
            )
    found = sorted(set(labels))
    if len(found) > MAX_LABELS:
        raise InvalidOptions(f"a worker has at most {MAX_LABELS} labels, not {len(found)}")
    return found
