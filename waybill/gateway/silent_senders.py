"""Requests whose sender has fallen silent, ended by the next request for the same upload.

A client that has changed networks comes back on another connection, while the old one looks alive for as long as the
server waits for it, and holds the lock of the upload. Knows the requests of this process alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

# Of a sender that lives, a packet comes within this; and clients of tus ask again for some seconds longer.
SILENT_SECONDS = 3.0


class SenderReplaced(Exception):
    """Another request has taken the place of a silent one."""


@dataclass(eq=False)
class Sender:
    """One request that receives bytes."""

    limit: asyncio.Timeout
    moved_at: float = field(default_factory=time.monotonic)
    is_replaced: bool = False

    def moved(self) -> None:
        """Note that bytes have come."""
        self.moved_at = time.monotonic()


class SilentSenders:
    """The requests of this process that receive bytes of uploads, by upload."""

    def __init__(self) -> None:
        self._senders: dict[str, Sender] = {}

    @asynccontextmanager
    async def receiving(self, upload_id: str) -> AsyncGenerator[Sender]:
        """Note a request for the block. Raises `SenderReplaced` when it was ended."""
        sender: Sender | None = None
        try:
            async with asyncio.timeout(None) as limit:
                self._senders[upload_id] = sender = Sender(limit)
                yield sender
        except TimeoutError:
            if sender is not None and sender.is_replaced:
                raise SenderReplaced from None
            raise
        finally:
            if self._senders.get(upload_id) is sender:
                self._senders.pop(upload_id, None)

    def end_silent(self, upload_id: str) -> None:
        """End the request that receives bytes of this upload, if none has come for a while."""
        sender = self._senders.get(upload_id)
        if sender is not None and not sender.is_replaced and time.monotonic() - sender.moved_at > SILENT_SECONDS:
            sender.is_replaced = True
            sender.limit.reschedule(0.0)
