"""The audit log: which actor did what to which file. An entry commits together with the change that it records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from uuid import UUID

import orjson

from blocks.access import queries
from blocks.errors import InvalidOptions
from blocks.json_cleaning import cleaned, json_value, storable_leaf
from blocks.postgres import Connection, execute, fetch_all

Action = Literal[
    "upload", "ingest", "download", "delete", "share", "pin", "unpin", "hold", "release", "extend",
    "export", "export_removed", "transfer_prepared", "transfer_token", "transfer_completed", "transfer_cancelled",
    "key_created", "key_used", "key_refused", "key_revoked",
    "endpoint_added", "endpoint_enabled", "endpoint_disabled", "endpoint_removed", "secret_rotated",
    "webhook_replayed", "webhook_tested", "expire", "forget",
    "worker_invited", "worker_enrolled", "worker_labelled", "worker_refused", "worker_revoked",
    "assignment_claimed", "run_started", "run_cancelled", "watch_added", "watch_removed",
]  # fmt: skip
ACTIONS: tuple[Action, ...] = get_args(Action)
"""All recorded actions; the type checker refuses an entry for any other.

`key_used` is recorded once an hour per key and address, `key_refused` and `worker_refused` 60 times a minute.
"""

MAX_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One action.

    *actor* is ``key:ID``, ``link``, ``transfer`` (a holder of a transfer's token), ``worker:NAME``, ``anonymous`` (an
    enrolment that was refused), ``cli:NAME`` or ``flow:NAME``; *client* is a network address.
    """

    # Set by the database.
    entry_id: int | None = None
    recorded_at: datetime | None = None
    action: str
    actor: str
    file_id: UUID | None = None
    run_id: UUID | None = None
    client: str | None = None
    request_id: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_json(self) -> dict[str, Any]:
        return {name: json_value(value) for name, value in vars(self).items()}


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The originator of actions: the fields that all of its `AuditEntry`s share."""

    actor: str
    client: str | None = None
    request_id: str | None = None

    def entry(
        self,
        action: Action,
        *,
        file_id: UUID | None = None,
        run_id: UUID | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> AuditEntry:
        """Return the entry for *action* by this actor."""
        return AuditEntry(
            action=action,
            actor=self.actor,
            file_id=file_id,
            run_id=run_id,
            client=self.client,
            request_id=self.request_id,
            detail=dict(detail or {}),
        )


async def record(connection: Connection, *entries: AuditEntry) -> None:
    """Add *entries*, all or none, on the caller's connection."""
    if not entries:
        return
    rows = [{**vars(entry), "detail": cleaned(entry.detail, leaf=storable_leaf)} for entry in entries]
    await execute(connection, queries.RECORD, {"rows": orjson.dumps(rows).decode()})


async def audit_entries(
    connection: Connection,
    *,
    action: str | None = None,
    actor: str | None = None,
    file_id: UUID | None = None,
    within: timedelta | None = None,
    limit: int = 100,
    after: int | None = None,
) -> list[AuditEntry]:
    """Return one page, newest first, after `entry_id` *after*. Raises `InvalidOptions` for a bad action or *limit*."""
    if action is not None:
        check_action(action)
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} entries, not {limit}")
    filters = {
        "action": action,
        "actor": actor,
        "file_id": file_id,
        "within_seconds": within.total_seconds() if within is not None else None,
        "after": after,
    }
    given = {name: value for name, value in filters.items() if value is not None}
    statement, values = queries.audit_statement(given), {**given, "limit": limit}
    return [AuditEntry(**row) for row in await fetch_all(connection, statement, values)]


def check_action(action: str) -> None:
    """Raise `InvalidOptions` for an action that is never recorded."""
    if action not in ACTIONS:
        raise InvalidOptions(f"unknown action {action!r}; there are {', '.join(ACTIONS)}")
