"""Operations on transfers, for commands and the gateway. Each commits together with its entry in the audit log.

Checks no permissions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from blocks.access import Actor, record
from blocks.age import parse_recipient
from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.errors import InvalidKey, InvalidOptions, TransferConflict, TransferOver, WaybillError
from blocks.transfers import (
    NewTransfer,
    Page,
    Transfer,
    TransferTokens,
    create_transfer,
    get_transfer,
    list_transfers,
    require_open,
)
from blocks.transfers.ending import complete_download, end_with_event
from blocks.transfers.expiry import give_up_bytes
from blocks.transfers.outgoing import entity_tag
from blocks.transfers.prepare import For, prepare_as_sealed, prepare_download, record_download
from blocks.webhooks.event_links import EventLinks
from blocks.workers import hold_worker

TRANSFERS_PATH = "/api/v1/transfers"


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A transfer with what its other side needs. Any holder of the token can fetch or send this one file."""

    transfer: Transfer
    url: str
    token: str = field(repr=False)
    token_expires_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return it in the form of `--json` and the API."""
        tag = {"etag": entity_tag(self.transfer)} if self.transfer.direction == "download" else {}
        return {
            **self.transfer.as_json(),
            "url": self.url,
            "token": self.token,
            "token_expires_at": self.token_expires_at.isoformat(),
            **tag,
        }


def with_token(tokens: TransferTokens, base_url: str, transfer: Transfer) -> Prepared:
    """Return an open transfer with a new token. Blocks. Raises `TransferOver`, `InvalidOptions`, `InvalidSettings`."""
    token, expires_at = tokens.issue(require_open(transfer))
    url = f"{base_url}{TRANSFERS_PATH}/{transfer.transfer_id}/{transfer.direction}"
    return Prepared(transfer=transfer, url=url, token=token, token_expires_at=expires_at)


async def hand_over_file(
    custody: Custody,
    file_id: UUID,
    *,
    recipients: Sequence[str] = (),
    worker: str | None = None,
    lasts: timedelta,
    by: Actor,
) -> Transfer:
    """Prepare the download of a file for the age *recipients*, or for a *worker*, or as its sender has sealed it.

    Raises `InvalidOptions` for both, for neither unless its sender has sealed it, and for what is no recipient,
    `WorkerNotFound`, `WorkerRefused`, `ArtifactNotFound`, also as `ArtifactGone`, and what `prepare_download` raises.
    """
    if recipients and worker is not None:
        raise InvalidOptions("name either the age recipients that the file is for (age1...), or a worker")
    keys = recipients if worker is None else [await _key_of(custody.catalog, worker)]
    try:
        receiver = For(
            recipients=[parse_recipient(one) for one in keys], requested_by=by.actor, lasts=lasts, worker=worker
        )
        prepare = prepare_download if receiver.recipients else prepare_as_sealed
        new = await prepare(custody, await custody.get(file_id), receiver)
    except InvalidKey as exc:
        raise InvalidOptions(f"these recipients cannot be used: {exc.message}") from exc
    async with custody.catalog.transaction() as connection:
        if worker is not None:
            await hold_worker(connection, worker)
        transfer = await record_download(connection, new)
        detail = {"transfer_id": transfer.transfer_id, "direction": "download", "recipient": transfer.recipient}
        detail |= {"worker": worker} if worker is not None else {}
        await record(connection, by.entry("transfer_prepared", file_id=file_id, detail=detail))
    return transfer


async def add_upload(catalog: Catalog, new: NewTransfer, *, by: Actor) -> Transfer:
    """Record an upload that waits for its sender, and return it."""
    async with catalog.transaction() as connection:
        transfer = await create_transfer(connection, new)
        detail = {"transfer_id": transfer.transfer_id, "direction": "upload", "filename": transfer.filename}
        await record(connection, by.entry("transfer_prepared", detail=detail))
    return transfer


async def read_transfer(catalog: Catalog, transfer_id: str) -> Transfer:
    """Return a transfer. Raises `TransferNotFound`."""
    async with catalog.connection() as connection:
        return await get_transfer(connection, transfer_id)


async def read_transfers(
    catalog: Catalog,
    *,
    state: str | None = None,
    direction: str | None = None,
    worker: str | None = None,
    file_id: UUID | None = None,
    limit: int = 100,
    after: str | None = None,
) -> Page:
    """Return one page of transfers, newest first."""
    async with catalog.connection() as connection:
        return await list_transfers(
            connection, state=state, direction=direction, worker=worker, file_id=file_id, limit=limit, after=after
        )


async def cancel_transfer(custody: Custody, links: EventLinks, transfer_id: str, *, by: Actor) -> Transfer:
    """Cancel a transfer that is open, remove what has arrived of an upload, and return it as it is then.

    A download that is under way is broken off within seconds. Raises `TransferNotFound`, `TransferOver`.
    """
    async with custody.catalog.transaction() as connection:
        transfer = require_open(await get_transfer(connection, transfer_id, for_update=True))
        ended = await end_with_event(connection, transfer_id, "cancelled", links, error=f"cancelled by {by.actor}")
        if ended is None:  # its time was over in this moment
            raise TransferOver(f"transfer {transfer.transfer_id} has expired", transfer_id=transfer_id)
        await record(connection, by.entry("transfer_cancelled", detail={"transfer_id": transfer_id}))
    await give_up_bytes(custody, ended)
    return ended


async def report_download(
    catalog: Catalog, links: EventLinks, transfer_id: str, *, sha256: str, size: int, by: Actor
) -> Transfer:
    """Complete a download by what its receiver has, and return it. Idempotent.

    Raises `TransferConflict` when that is not what was sent: the transfer has failed then. Raises `TransferNotFound`,
    `TransferOver`.
    """
    async with catalog.transaction() as connection:
        transfer = await complete_download(connection, transfer_id, links, sha256=sha256, size=size)
        detail = {"transfer_id": transfer_id, "state": transfer.state}
        await record(connection, by.entry("transfer_completed", file_id=transfer.file_id, detail=detail))
    if transfer.state == "failed":
        raise TransferConflict(transfer.error or "the content is not what was sent", transfer_id=transfer_id)
    return transfer


async def fail_transfer(catalog: Catalog, links: EventLinks, transfer_id: str, error: str) -> None:
    """Record that a transfer cannot go on. One that is over stays as it is; without a catalogue it expires."""
    with suppress(WaybillError):
        async with catalog.transaction() as connection:
            await end_with_event(connection, transfer_id, "failed", links, error=error)


async def _key_of(catalog: Catalog, worker: str) -> str:
    async with catalog.transaction() as connection:
        return (await hold_worker(connection, worker)).recipient
