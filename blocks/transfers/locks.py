"""One writer for each upload, in this process and in all gateways: an advisory lock of Postgres.

It is of a session, so it ends with the gateway however that ends; the session is shared by all uploads of a process.
The session answers one statement after the other: all keys that are wanted meanwhile are in the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from blocks.catalog.output_locks import OutputLocks
from blocks.errors import TransferLocked, WaybillError
from blocks.runtime.threads import to_its_end


class TransferLocks:
    """Locks on transfers. *session* is not used for anything else."""

    def __init__(self, session: OutputLocks) -> None:
        self._held: set[str] = set()
        turn = asyncio.Lock()
        self._acquire = _Statements(lambda keys: session.try_acquire(keys, required=True), turn)
        self._release = _Statements(lambda keys: _released(session, keys), turn)

    @asynccontextmanager
    async def hold(self, transfer_id: str) -> AsyncGenerator[None]:
        """Hold the lock for the block. Raises `TransferLocked` at once if another has it, and `CatalogUnavailable`."""
        if transfer_id in self._held:  # a session gets a lock that it has
            raise _locked(transfer_id)
        self._held.add(transfer_id)
        try:
            key = f"transfer:{transfer_id}"
            if not await self._acquired(key):
                raise _locked(transfer_id)
            try:
                yield
            finally:
                await to_its_end(self._release.run(key))
        finally:
            self._held.discard(transfer_id)

    async def _acquired(self, key: str) -> bool:
        acquiring = asyncio.ensure_future(self._acquire.run(key))
        try:
            return key in await asyncio.shield(acquiring)
        except asyncio.CancelledError:
            with suppress(WaybillError):
                if key in await to_its_end(acquiring):
                    await to_its_end(self._release.run(key))
            raise


class _Statements:
    """Runs *execute* for many keys at once. *turn* is held by the statement that runs."""

    def __init__(self, execute: Callable[[set[str]], Awaitable[set[str]]], turn: asyncio.Lock) -> None:
        self._execute, self._turn = execute, turn
        self._keys = set[str]()
        self._next: asyncio.Task[set[str]] | None = None

    async def run(self, key: str) -> set[str]:
        """Return the answer of the next statement, in which *key* is. Raises like *execute*."""
        self._keys.add(key)
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> set[str]:
        async with self._turn:
            keys, self._keys, self._next = self._keys, set[str](), None
            return await self._execute(keys)


async def _released(session: OutputLocks, keys: set[str]) -> set[str]:
    await session.release(keys)
    return keys


def _locked(transfer_id: str) -> TransferLocked:
    return TransferLocked(
        f"another request is writing to transfer {transfer_id}; try again in a moment", transfer_id=transfer_id
    )
