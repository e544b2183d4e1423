"""The end of a transfer and its event: both or neither. Every call takes the caller's transaction."""

from __future__ import annotations

from blocks.catalog import Artifact, Connection
from blocks.errors import TransferConflict, TransferOver
from blocks.transfers.events import ended_event
from blocks.transfers.rows import (
    confirm_completion,
    end_transfer,
    get_transfer,
    is_in_grace,
    overrule_completion,
    record_progress,
)
from blocks.transfers.transfer import State, Transfer
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import add_events

# The client that cancels knows of it: no event.
_WITHOUT_EVENT = frozenset({"cancelled"})


async def end_with_event(
    connection: Connection,
    transfer_id: str,
    state: State,
    links: EventLinks,
    *,
    error: str | None = None,
    artifact: Artifact | None = None,
    keep_header: bool = False,
) -> Transfer | None:
    """End a transfer as *state*, record its event, and return it; None when it was over already.

    *artifact* is the file that an upload has become. *keep_header* as with `end_transfer`.
    """
    ended = await end_transfer(
        connection,
        transfer_id,
        state,
        error=error,
        file_id=artifact.file_id if artifact else None,
        content_size=artifact.size if artifact else None,
        content_sha256=artifact.sha256 if artifact else None,
        keep_header=keep_header,
    )
    return await _recorded(connection, transfer_id, links, artifact) if ended else None


async def complete_download(
    connection: Connection, transfer_id: str, links: EventLinks, *, sha256: str, size: int
) -> Transfer:
    """Complete a download by its receiver's report of the plain content, and return it.

    The report decides, also over a completion by bytes alone. Content that is not what was sent fails the transfer:
    then the result is `failed`. Idempotent for the same report. Raises `TransferNotFound`, `TransferOver`, and
    `TransferConflict` for an upload.
    """
    transfer = await get_transfer(connection, transfer_id, for_update=True)
    if transfer.direction != "download":
        raise TransferConflict("an upload is completed by its last byte", transfer_id=transfer_id)
    # What its sender alone could declare, and has not, is not known here.
    right = transfer.content_sha256 in {sha256.lower(), None} and transfer.content_size in {size, None}
    error = None if right else _wrong_content(transfer, sha256.lower(), size)
    if transfer.is_open:
        if right:
            # What a process that was killed had not written of its progress.
            whole = [(0, transfer.size or 0)]
            await record_progress(connection, transfer_id, whole, sent_bytes=0, bytes_per_second=None)
        ended = await end_with_event(connection, transfer_id, "completed" if right else "failed", links, error=error)
        if ended is not None:
            return ended
    elif transfer.state == "completed" and right:
        await confirm_completion(connection, transfer_id)
        return transfer
    elif error is not None and await is_in_grace(connection, transfer_id):
        await overrule_completion(connection, transfer_id, error)
        return await _recorded(connection, transfer_id, links, None)
    elif transfer.state == "failed" and transfer.error == error and error is not None:
        return transfer
    raise TransferOver(
        f"transfer {transfer_id} is {transfer.state}; ask for a new one",
        transfer_id=transfer_id,
    )


async def _recorded(connection: Connection, transfer_id: str, links: EventLinks, artifact: Artifact | None) -> Transfer:
    transfer = await get_transfer(connection, transfer_id)
    if transfer.state not in _WITHOUT_EVENT:
        await add_events(connection, [ended_event(transfer, artifact, links)], links.to_payload)
    return transfer


def _wrong_content(transfer: Transfer, sha256: str, size: int) -> str:
    if size != transfer.content_size:
        return f"the receiver has {size} bytes of content, and {transfer.content_size} were sent"
    return f"the receiver has content with the sha256 {sha256}, and {transfer.content_sha256} was sent"
