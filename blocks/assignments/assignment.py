"""An assignment and its jobs as the catalogue has them; pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from blocks.errors import InvalidOptions

State = Literal["waiting", "claimed", "completed", "failed", "cancelled"]
JobState = Literal["waiting", "completed", "failed"]

OPEN_STATES: frozenset[str] = frozenset({"waiting", "claimed"})

# A worker renews four times in it, so that a lost connection of some seconds loses nothing.
LEASE = timedelta(seconds=60)
# Claims. What three workers have lost is suspect: it may be what kills them.
MAX_ATTEMPTS = 3

_ID = re.compile(r"asg_[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """One document of a new assignment. *inputs* are file ids by the name under which the stage reads them."""

    stage_key: str
    document: Mapping[str, Any]
    options: Mapping[str, Any]
    inputs: Mapping[str, UUID]


@dataclass(frozen=True, kw_only=True)
class NewAssignment:
    """An assignment that is about to be recorded. It is over at the latest after *lasts*."""

    run_id: UUID
    stage: int
    stage_name: str
    stage_version: str
    label: str
    lasts: timedelta
    time_limit: timedelta | None = None
    jobs: Sequence[NewJob]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One assignment. For the columns see migration 0011; times are the database's, and so are the last two fields."""

    assignment_id: str
    run_id: UUID
    stage: int
    stage_name: str
    stage_version: str
    label: str
    state: State
    worker: str | None
    remote_run_id: UUID | None
    attempts: int
    claimed_at: datetime | None
    claimed_until: datetime | None
    error: str | None
    created_at: datetime
    ended_at: datetime | None
    expires_at: datetime
    time_limit: timedelta | None
    lease_is_over: bool
    is_expired: bool

    @property
    def is_open(self) -> bool:
        """Whether a worker has it or may claim it."""
        return self.state in OPEN_STATES and not self.is_expired

    @property
    def is_lost(self) -> bool:
        """Whether its worker was not heard of in time."""
        return self.state == "claimed" and self.lease_is_over


@dataclass(frozen=True, kw_only=True)
class AssignmentJob:
    """One job. *result* is what its worker reports of the output, which is the upload *upload_id*."""

    assignment_id: str
    ordinal: int
    state: JobState
    stage_key: str
    document: Mapping[str, Any]
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    upload_id: str | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    worker: str | None


def new_assignment_id() -> str:
    """Return a fresh id."""
    return f"asg_{secrets.token_hex(8)}"


def check_assignment_id(text: str) -> str:
    """Return *text*. Raises `InvalidOptions` unless it has the form of an id."""
    if _ID.fullmatch(text) is None:
        raise InvalidOptions("an assignment's id is asg_ and 16 hexadecimal digits")
    return text
