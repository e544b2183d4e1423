"""One writer for each upload, in this process and in all gateways: an advisory lock of Postgres.

It is of a session, so it ends with the gateway however that ends; the session is shared by all uploads of a process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from blocks.catalog.output_locks import OutputLocks
from blocks.errors import TransferLocked
from blocks.runtime.threads import to_its_end


class TransferLocks:
    """Locks on transfers. *session* is not used for anything else."""

    def __init__(self, session: OutputLocks) -> None:
        self._session = session
        self._held: set[str] = set()

    @asynccontextmanager
    async def hold(self, transfer_id: str) -> AsyncGenerator[None]:
        """Hold the lock for the block. Raises `TransferLocked` at once if another has it, and `CatalogUnavailable`."""
        if transfer_id in self._held:  # a session gets a lock that it has
            raise _locked(transfer_id)
        self._held.add(transfer_id)
        try:
            key = f"transfer:{transfer_id}"
            if not await self._session.try_acquire([key], required=True):
                raise _locked(transfer_id)
            try:
                yield
            finally:
                await to_its_end(self._session.release([key]))
        finally:
            self._held.discard(transfer_id)


def _locked(transfer_id: str) -> TransferLocked:
    return TransferLocked(
        f"another request is writing to transfer {transfer_id}; try again in a moment", transfer_id=transfer_id
    )
