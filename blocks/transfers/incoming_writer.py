"""The writer of one request: bytes from the network go to the storage in a thread while the next ones arrive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, TypeVar, cast

from blocks.catalog import Stored
from blocks.errors import TooLarge, WaybillError
from blocks.keys import StorageKeys
from blocks.runtime.threads import in_thread, to_its_end
from blocks.storage import CHUNK_BYTES, PartialBlob
from blocks.storage.partial import wrong_size
from blocks.transfers.progress import Meter
from blocks.transfers.transfer import Transfer
from blocks.transfers.verification import Verification

T = TypeVar("T")

_LOG = logging.getLogger("waybill.transfers")

# A verification that waits for the next request of its sender ends after this long, and begins again with it.
_REST_SECONDS = 30.0
# Each holds a thread and some MiB.
_MOST_RESTING = 32


@dataclass(frozen=True)
class _Rest:
    verification: Verification
    timer: asyncio.TimerHandle


class Resting:
    """Verifications between two requests of their senders."""

    def __init__(self) -> None:
        self._rests: dict[str, _Rest] = {}

    def take(self, transfer_id: str, end: int) -> Verification | None:
        """Return the verification of an upload of which *end* bytes are here; one that knows of others is ended."""
        rest = self._rests.pop(transfer_id, None)
        if rest is None:
            return None
        rest.timer.cancel()
        if rest.verification.end == end:
            return rest.verification
        rest.verification.stop()
        return None

    def put(self, transfer_id: str, verification: Verification) -> None:
        """Keep a verification for a while."""
        if len(self._rests) >= _MOST_RESTING:
            self._end(next(iter(self._rests)))
        timer = asyncio.get_running_loop().call_later(_REST_SECONDS, self._end, transfer_id)
        self._rests[transfer_id] = _Rest(verification, timer)

    def close(self) -> None:
        """End them all."""
        for transfer_id in list(self._rests):
            self._end(transfer_id)

    def _end(self, transfer_id: str) -> None:
        rest = self._rests.pop(transfer_id, None)
        if rest is not None:
            rest.timer.cancel()
            rest.verification.stop()


class IncomingWriter:
    """Appends to the upload *transfer*, which it has alone: `write`, `flush`, and `verified` after the last byte."""

    def __init__(
        self,
        transfer: Transfer,
        partial: PartialBlob,
        *,
        keys: StorageKeys,
        meter: Meter,
        executor: Executor,
        resting: Resting,
    ) -> None:
        self.transfer = transfer
        self._size = transfer.size or 0
        self._partial, self._keys, self._meter = partial, keys, meter
        self._executor, self._resting = executor, resting
        self._accepted = 0  # where the next byte belongs
        self._stored = 0  # where those end that the storage has, durable or not
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._appending: asyncio.Task[None] | None = None
        self._has_failed = False
        self._verification: Verification | None = None
        self._is_followed: bool | None = None

    @property
    def offset(self) -> int:
        """Where the next byte belongs: after all that were written, durable or not."""
        return self._accepted

    @property
    def room(self) -> int:
        """How many bytes are missing."""
        return self._size - self._accepted

    @property
    def is_full(self) -> bool:
        """Whether all bytes were written."""
        return self._accepted == self._size

    @property
    def found_wrong(self) -> BaseException | None:
        """What the verification has found wrong so far."""
        return self._verification.error if self._verification is not None else None

    async def open(self) -> None:
        """Find out what is here. Raises `StorageUnavailable`."""
        self._accepted = self._stored = await self._in_thread(self._partial.offset)
        self._verification = self._resting.take(self.transfer.transfer_id, self._stored)

    async def write(self, piece: bytes) -> None:
        """Add *piece*; wait while the storage is slower.

        Raises `TooLarge` for more than was declared, `TransferOver`, `StorageUnavailable`, `StorageFull`.
        """
        if self._accepted + len(piece) > self._size:
            raise self.too_large()
        self._pieces.append(piece)
        self._accepted += len(piece)
        self._buffered += len(piece)
        if self._buffered >= CHUNK_BYTES:
            await self._append()

    def too_large(self) -> TooLarge:
        """Return the error for more bytes than were declared."""
        return TooLarge(f"the upload was declared with {self._size} bytes, and more were sent", max_bytes=self._size)

    async def flush(self) -> int:
        """Store what was written; return how many bytes are here, durably. Raises like `write`."""
        await self._append()
        await self._appended()
        if (here := await self._in_thread(self._partial.offset)) < self._accepted:
            raise wrong_size(self._accepted, here)  # another process has removed it
        return here

    async def restart(self) -> None:
        """Begin again at byte 0."""
        if self._accepted:
            await self.discard()
            self._accepted = self._stored = 0

    async def discard(self) -> None:
        """Remove what is here, but not a blob that is visible."""
        with suppress(WaybillError):
            await self._appended()
        self._pieces, self._buffered = [], 0
        self._drop_verification()
        await self._in_thread(self._partial.discard)

    async def verified(self, open_finished: Callable[[], BinaryIO]) -> Stored:
        """Make the blob visible, of which all bytes are here, and return what they are. Raises what is wrong with them.

        They are verified before that or, where the storage can only be read afterwards, from *open_finished*.
        """
        if (here := await self.flush()) != self._size:
            raise wrong_size(self._size, here)
        try:
            if self._verification is None and not await self._follow():
                await self._in_thread(lambda: self._partial.finish(self._size))
                self._begin_verification(open_finished)
            assert self._verification is not None  # noqa: S101 - it has just been begun
            self._verification.grown(self._size)
            stored = await self._in_thread(self._verification.result)
            await self._in_thread(lambda: self._partial.finish(self._size))
        except BaseException:
            self._drop_verification()
            raise
        self._verification = None
        return stored

    async def close(self) -> None:
        """Store what has arrived, and let go of the upload; its verification waits for the next request."""
        await to_its_end(self._close())

    async def _close(self) -> None:
        try:
            if not self._has_failed:
                await self._append()
            await self._appended()
        except Exception as error:  # noqa: BLE001 - the sender learns at its next request what is here
            _LOG.info("transfer=%s: its last bytes were not stored: %s", self.transfer.transfer_id, error)
        finally:
            await self._in_thread(self._partial.close)
            if self._verification is not None:
                self._resting.put(self.transfer.transfer_id, self._verification)
                self._verification = None

    async def _append(self) -> None:
        """Begin to store the buffered pieces, as soon as those before them are."""
        await self._appended()
        if self._pieces:
            pieces, self._pieces, self._buffered = self._pieces, [], 0
            self._appending = asyncio.create_task(self._append_pieces(pieces))

    async def _appended(self) -> None:
        task, self._appending = self._appending, None
        if task is not None:
            await task

    async def _append_pieces(self, pieces: list[bytes]) -> None:
        first = self._stored
        try:
            self._stored = await self._in_thread(lambda: self._partial.append(first, pieces))
            if self._verification is not None or await self._follow():
                assert self._verification is not None  # noqa: S101 - `_follow` has begun it
                self._verification.grown(self._stored)
            self._meter.add(first, self._stored)
        except BaseException:
            self._has_failed = True
            self._pieces, self._buffered = [], 0
            raise

    async def _follow(self) -> bool:
        """Begin to verify what is here; return whether it can be read before it is finished."""

        def can_be_read() -> bool:
            stream = self._partial.read() if self._size else None
            if stream is not None:
                stream.close()
            return stream is not None

        if self._is_followed is None:
            self._is_followed = await self._in_thread(can_be_read)
        if self._is_followed:
            self._begin_verification(lambda: cast("BinaryIO", self._partial.read()))
        return self._is_followed

    def _begin_verification(self, open_bytes: Callable[[], BinaryIO]) -> None:
        self._verification = Verification(self.transfer, self._keys, open_bytes)
        self._verification.begin()

    def _drop_verification(self) -> None:
        if self._verification is not None:
            self._verification.stop()
            self._verification = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await in_thread(lambda _: work(), self._executor)
