"""Typed calls over `blocks.transfers.queries`. Every call takes the caller's connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from blocks.catalog import Connection
from blocks.catalog.json_columns import json_text
from blocks.errors import InvalidOptions, TransferNotFound, TransferOver
from blocks.postgres import Row, execute, fetch_all, fetch_optional
from blocks.postgres.page_cursor import read_cursor, write_cursor
from blocks.transfers import queries
from blocks.transfers.transfer import (
    RESUME_GRACE,
    Direction,
    SealedFor,
    State,
    Transfer,
    check_transfer_id,
    new_transfer_id,
)

MAX_PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class NewTransfer:
    """A transfer that is about to be recorded. Sizes are bytes; for the other columns see migration 0011."""

    direction: Direction
    filename: str
    media_type: str
    sealed_for: SealedFor
    lasts: timedelta
    requested_by: str
    worker: str | None = None
    assignment_id: str | None = None
    file_id: UUID | None = None
    recipient: str | None = None
    header: bytes | None = None
    replaced_bytes: int = 0
    size: int | None = None
    sha256: str | None = None
    content_size: int | None = None
    content_sha256: str | None = None
    metadata: Mapping[str, Any] | None = None
    keep_for: timedelta | None = None
    run_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page of transfers, newest first. `next` continues it, None at the end."""

    transfers: list[Transfer]
    next: str | None


async def create_transfer(connection: Connection, new: NewTransfer) -> Transfer:
    """Record a transfer and return it."""
    values = {**vars(new), "metadata": json_text(dict(new.metadata or {}), "metadata")}
    row = await fetch_optional(connection, queries.CREATE, {**values, "transfer_id": new_transfer_id()})
    assert row is not None  # noqa: S101 - an insert without a condition returns its row
    return Transfer(**row)


async def open_counts(connection: Connection) -> dict[str, tuple[int, float]]:
    """Return how many transfers are open, and the bytes that are left of them, by direction. Absent: none."""
    rows = await fetch_all(connection, queries.OPEN_COUNTS, {})
    return {row["direction"]: (row["transfers"], row["bytes_left"]) for row in rows}


async def get_transfer(connection: Connection, transfer_id: str, *, for_update: bool = False) -> Transfer:
    """Return a transfer; *for_update* locks its row until the transaction ends. Raises `TransferNotFound`."""
    statement = queries.GET_FOR_UPDATE if for_update else queries.GET
    row = await fetch_optional(connection, statement, {"transfer_id": check_transfer_id(transfer_id)})
    if row is None:
        raise TransferNotFound(
            f"there is no transfer {transfer_id}; 'waybill transfers list' shows all", transfer_id=transfer_id
        )
    return Transfer(**row)


async def record_progress(
    connection: Connection,
    transfer_id: str,
    ranges: Sequence[tuple[int, int]],
    *,
    sent_bytes: int,
    bytes_per_second: float | None,
) -> int | None:
    """Record byte *ranges* (first, beyond) as done; return how many bytes are done, None if the transfer is over."""
    values = {
        "transfer_id": transfer_id,
        "ranges": "{" + ",".join(f"[{first},{beyond})" for first, beyond in ranges if first < beyond) + "}",
        "sent_bytes": sent_bytes,
        "bytes_per_second": bytes_per_second,
    }
    row = await fetch_optional(connection, queries.RECORD_PROGRESS, values)
    return row["done_bytes"] if row else None


async def declare_upload(
    connection: Connection,
    transfer_id: str,
    *,
    file_id: UUID,
    size: int,
    sha256: str | None = None,
    content_size: int | None = None,
    content_sha256: str | None = None,
    filename: str | None = None,
    media_type: str | None = None,
) -> bool:
    """Record what the sender declares, and the reserved file. False if that was done, or the transfer is over."""
    values = {
        "transfer_id": transfer_id,
        "file_id": file_id,
        "size": size,
        "sha256": sha256,
        "content_size": content_size,
        "content_sha256": content_sha256,
        "filename": filename,
        "media_type": media_type,
    }
    return await fetch_optional(connection, queries.DECLARE_UPLOAD, values) is not None


async def end_transfer(
    connection: Connection,
    transfer_id: str,
    state: State,
    *,
    error: str | None = None,
    file_id: UUID | None = None,
    content_size: int | None = None,
    content_sha256: str | None = None,
    keep_header: bool = False,
) -> bool:
    """End a transfer as *state*; return whether this call did it. Only one whose time is over becomes expired.

    With *keep_header* its bytes can be sent again for `RESUME_GRACE`. `blocks.transfers.ending`
    records its event too.
    """
    values = {
        "transfer_id": transfer_id,
        "state": state,
        "error": error,
        "file_id": file_id,
        "content_size": content_size,
        "content_sha256": content_sha256,
        "keep_header": keep_header,
    }
    return await fetch_optional(connection, queries.END, values) is not None


async def is_in_grace(connection: Connection, transfer_id: str) -> bool:
    """Return whether a download that was completed by its bytes alone can still be read again."""
    row = await fetch_optional(connection, queries.IN_GRACE, {"transfer_id": transfer_id, "grace": RESUME_GRACE})
    return row is not None and bool(row["in_grace"])


async def record_repeated(connection: Connection, transfer_id: str, sent_bytes: int) -> bool:
    """Count bytes that were sent after all of a download had been; return whether it may still be read."""
    values = {"transfer_id": transfer_id, "sent_bytes": sent_bytes, "grace": RESUME_GRACE}
    return await fetch_optional(connection, queries.RECORD_REPEATED, values) is not None


async def confirm_completion(connection: Connection, transfer_id: str) -> None:
    """Let nothing more of a completed transfer be read. Idempotent."""
    await execute(connection, queries.CONFIRM, {"transfer_id": transfer_id})


async def overrule_completion(connection: Connection, transfer_id: str, error: str) -> bool:
    """Fail a download that was completed by its bytes alone. False if it was not, or its receiver has confirmed it."""
    values = {"transfer_id": transfer_id, "error": error}
    return await fetch_optional(connection, queries.OVERRULE, values) is not None


async def drop_old_headers(connection: Connection) -> None:
    """Remove the headers of downloads that can no longer be read."""
    await execute(connection, queries.DROP_OLD_HEADERS, {"grace": RESUME_GRACE})


async def due_to_expire(connection: Connection, limit: int) -> list[Transfer]:
    """Return open transfers whose time is over, the oldest first."""
    return [Transfer(**row) for row in await fetch_all(connection, queries.DUE_TO_EXPIRE, {"limit": limit})]


async def open_upload_files(connection: Connection) -> set[UUID]:
    """Return the ids of the files that uploads are becoming."""
    return {row["file_id"] for row in await fetch_all(connection, queries.OPEN_UPLOAD_FILES, {})}


async def transfers_of_worker(connection: Connection, worker: str) -> list[Transfer]:
    """Return the open transfers of a worker."""
    return [Transfer(**row) for row in await fetch_all(connection, queries.OF_WORKER, {"worker": worker})]


async def transfers_of_assignment(connection: Connection, assignment_id: str) -> list[Transfer]:
    """Return all transfers of an assignment."""
    values = {"assignment_id": assignment_id}
    return [Transfer(**row) for row in await fetch_all(connection, queries.OF_ASSIGNMENT, values)]


async def list_transfers(
    connection: Connection,
    *,
    state: str | None = None,
    direction: str | None = None,
    worker: str | None = None,
    file_id: UUID | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Page:
    """Return one page of transfers, newest first. *after* is the `Page.next` of the page before."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidOptions(f"a page holds 1 to {MAX_PAGE} transfers, not {limit}")
    filters: Row = {"state": state, "direction": direction, "worker": worker, "file_id": file_id}
    if after is not None:
        filters["after_created_at"], filters["after_transfer_id"] = read_cursor(after, check_transfer_id)
    given = {name: value for name, value in filters.items() if value is not None}
    rows = await fetch_all(connection, queries.list_statement(given), {**given, "limit": limit + 1})
    found = [Transfer(**row) for row in rows[:limit]]
    following = write_cursor(found[-1].created_at, found[-1].transfer_id) if len(rows) > limit else None
    return Page(transfers=found, next=following)


def require_open(transfer: Transfer) -> Transfer:
    """Return *transfer*. Raises `TransferOver` unless bytes may still pass."""
    if not transfer.is_open:
        raise TransferOver(
            f"transfer {transfer.transfer_id} is {transfer.state}; ask for a new one", transfer_id=transfer.transfer_id
        )
    return transfer
