"""What goes by itself: transfers whose time is over, with what has been stored of an upload until then.

Any number of processes may do this at the same time: each transfer ends once. Bytes go after the transfer is over, so a
process that dies in between leaves a file without a writer, which `blocks.custody.abandoned` removes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from blocks.catalog import Catalog
from blocks.custody import Custody
from blocks.errors import Permanent
from blocks.transfers.ending import end_with_event
from blocks.transfers.rows import drop_old_headers, due_to_expire
from blocks.transfers.transfer import Transfer
from blocks.webhooks.event_links import EventLinks

# Each takes a transaction of its own: some seconds.
_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class ExpiredTransfer:
    """A transfer whose time is over. *error* says why its bytes are still there; they are removed later."""

    transfer_id: str
    direction: str
    filename: str
    size: int | None
    bytes_done: int
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


async def expire_transfers(custody: Custody, links: EventLinks) -> list[ExpiredTransfer]:
    """End the transfers whose time is over, with their events, and remove what was stored of uploads; return them.

    Raises `CatalogUnavailable`, `StorageUnavailable`; the next call goes on.
    """
    ended: list[ExpiredTransfer] = []
    while due := await _due(custody.catalog):
        for transfer in due:
            async with custody.catalog.transaction() as connection:
                over = await end_with_event(
                    connection, transfer.transfer_id, "expired", links, error=_how_far(transfer)
                )
            if over is not None:
                ended.append(await _without_bytes(custody, over))
        if len(due) < _BATCH:
            break
    async with custody.catalog.connection() as connection:
        await drop_old_headers(connection)
    return ended


async def transfers_to_go(catalog: Catalog) -> list[ExpiredTransfer]:
    """Return the transfers that `expire_transfers` would end now, at most a thousand, and change nothing."""
    return [_shown(transfer) for transfer in await _due(catalog)]


async def give_up_bytes(custody: Custody, transfer: Transfer) -> None:
    """Remove what has been stored of an upload that is over and has become no file. Idempotent."""
    if transfer.direction == "upload" and transfer.file_id is not None:
        await custody.give_up_pending(transfer.file_id)


async def _due(catalog: Catalog) -> list[Transfer]:
    async with catalog.connection() as connection:
        return await due_to_expire(connection, _BATCH)


async def _without_bytes(custody: Custody, transfer: Transfer) -> ExpiredTransfer:
    shown = _shown(transfer)
    try:
        await give_up_bytes(custody, transfer)
    except Permanent as error:
        return replace(shown, error=error.message)
    return shown


def _shown(transfer: Transfer) -> ExpiredTransfer:
    return ExpiredTransfer(
        transfer_id=transfer.transfer_id,
        direction=transfer.direction,
        filename=transfer.filename,
        size=transfer.size,
        bytes_done=transfer.done_bytes,
    )


def _how_far(transfer: Transfer) -> str:
    of_all = f" of {transfer.size}" if transfer.size is not None else ""
    return f"its time was over after {transfer.done_bytes}{of_all} bytes"
