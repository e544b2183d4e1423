"""How far downloads are: ranges and bytes of all requests of one process, written once a second for each transfer.

A download by four ranges at once moves a thousand times a second; the catalogue hears of it once. When its
last byte has been sent that is written at once, and completes a download that no receiver has to confirm. A catalogue
that is away loses nothing while this process lives: what was not written stays for the next attempt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from blocks.catalog import Catalog, Connection
from blocks.errors import TransferNotFound, TransferOver, WaybillError
from blocks.runtime.background_tasks import end_tasks
from blocks.runtime.outage_log import OutageLog
from blocks.transfers.ending import end_with_event
from blocks.transfers.rows import get_transfer, is_in_grace, record_progress, record_repeated
from blocks.transfers.transfer import Transfer
from blocks.webhooks.event_links import EventLinks

_PAUSE_SECONDS = 1.0
# How soon a transfer that another process has ended is noticed while its client moves nothing.
_LOOK_SECONDS = 5.0
# Of a new rate in the shown one: it follows within some seconds, and does not jump with each.
_NEW_SHARE = 0.5

_LOG = logging.getLogger("waybill.transfers")

Range = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What was written of a transfer: all bytes that are done, and the rate of the last seconds."""

    transfer: Transfer
    done_bytes: int
    bytes_per_second: float | None


@dataclass(eq=False)
class _Track:
    """The unwritten progress of one transfer, for all of its requests in this process."""

    transfer: Transfer
    written_at: float
    done_bytes: int
    ranges: list[Range] = field(default_factory=list[Range])
    sent_bytes: int = 0
    requests: int = 0
    has_written: bool = False
    rate: float | None = None
    is_over: bool = False
    blocks: set[asyncio.Timeout] = field(default_factory=set[asyncio.Timeout])
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None

    def add(self, first: int, beyond: int) -> None:
        self.sent_bytes += beyond - first
        if self.ranges and self.ranges[-1][1] == first:
            self.ranges[-1] = (self.ranges[-1][0], beyond)
        else:
            self.ranges.append((first, beyond))
        self.changed.set()
        if self.done_bytes < (self.transfer.size or 0) <= self.done_bytes + self.sent_bytes:
            self.hurry.set()

    def end(self) -> None:
        """Break off its requests, and let there be no others."""
        self.is_over = True
        for block in self.blocks:
            block.reschedule(0.0)


class Meter:
    """Takes the progress of one request. `add` costs next to nothing, never waits and never fails."""

    def __init__(self, track: _Track) -> None:
        self._track = track

    def add(self, first: int, beyond: int) -> None:
        """Note that the bytes of the transfer from *first* up to *beyond* have been sent."""
        if first < beyond:
            self._track.add(first, beyond)


class ProgressWriter:
    """Writes the progress of downloads. Costs nothing while there is none.

    *observe* is called with what was written; it must not wait.
    """

    def __init__(
        self,
        catalog: Catalog,
        links: EventLinks,
        *,
        observe: Callable[[Progress], None] = lambda _: None,
        pause_seconds: float = _PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._links = links
        self._observe = observe
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._tracks: dict[str, _Track] = {}
        self._outage = OutageLog(_LOG, "the progress of transfers")

    @asynccontextmanager
    async def following(self, transfer: Transfer) -> AsyncGenerator[Meter]:
        """Take the progress of one request for the block.

        The block is cancelled, and this raises `TransferOver`, when the transfer is cancelled or ends otherwise.
        """
        track = self._tracks.get(transfer.transfer_id) or self._begin(transfer)
        track.requests += 1
        try:
            async with asyncio.timeout(0.0 if track.is_over else None) as block:
                track.blocks.add(block)
                try:
                    yield Meter(track)
                finally:
                    track.blocks.discard(block)
        except TimeoutError:
            if track.is_over:
                raise TransferOver(
                    f"transfer {transfer.transfer_id} is over", transfer_id=transfer.transfer_id
                ) from None
            raise
        finally:
            track.requests -= 1
            track.changed.set()

    def stop(self, transfer_id: str) -> None:
        """Let requests of a transfer that is over send nothing more. In other processes they learn of it themselves."""
        track = self._tracks.get(transfer_id)
        if track is not None:
            track.end()

    async def flush(self, transfer_id: str) -> None:
        """Write what is not written of a transfer now. Raises `CatalogUnavailable`; then it stays for later."""
        track = self._tracks.get(transfer_id)
        if track is not None:
            await self._write(track)

    async def close(self) -> None:
        """Write everything, and stop. What cannot be written now is lost, and logged."""
        tracks = list(self._tracks.values())
        await end_tasks([track.task for track in tracks if track.task is not None])
        for track in tracks:
            try:
                await self._write(track)
            except WaybillError as error:
                _LOG.warning("the progress of transfer=%s is lost: %s", track.transfer.transfer_id, error.message)
        self._tracks.clear()

    def _begin(self, transfer: Transfer) -> _Track:
        track = _Track(transfer=transfer, written_at=self._clock(), done_bytes=transfer.done_bytes)
        self._tracks[transfer.transfer_id] = track
        track.task = asyncio.create_task(self._keep_writing(track))
        return track

    async def _keep_writing(self, track: _Track) -> None:
        while track.requests or track.ranges:
            if not await _set_within(track.changed, _LOOK_SECONDS):
                await self._look(track)
                continue
            await self._pause(track)
            track.changed.clear()
            track.hurry.clear()
            try:
                await self._write(track)
            except WaybillError as error:
                self._outage.failed(error)
                track.changed.set()
                await asyncio.sleep(self._pause_seconds)
            else:
                self._outage.succeeded()
        if self._tracks.get(track.transfer.transfer_id) is track:
            del self._tracks[track.transfer.transfer_id]

    async def _pause(self, track: _Track) -> None:
        """Wait until a second has passed since the last write, or the last byte has been sent."""
        rest = self._pause_seconds - (self._clock() - track.written_at)
        if rest > 0 and (track.requests or (track.ranges and track.has_written)):
            await _set_within(track.hurry, rest)

    async def _look(self, track: _Track) -> None:
        """End the requests of a transfer that another process has ended."""
        with suppress(WaybillError):  # looked at again
            async with self._catalog.connection() as connection:
                if await _is_over(connection, track.transfer.transfer_id):
                    track.end()

    async def _write(self, track: _Track) -> None:
        async with track.lock:
            ranges, sent_bytes = track.ranges, track.sent_bytes
            if not ranges:
                return
            track.ranges, track.sent_bytes = [], 0
            now = self._clock()
            rate = _smoothed(track.rate, sent_bytes / max(0.001, now - track.written_at))
            try:
                done_bytes = await self._record(track, ranges, sent_bytes, rate)
            except BaseException:
                track.ranges, track.sent_bytes = ranges + track.ranges, track.sent_bytes + sent_bytes
                raise
            track.written_at, track.rate, track.has_written = now, rate, True
            if done_bytes is None:
                await self._look(track)
                return
            track.done_bytes = done_bytes
        self._observe(Progress(transfer=track.transfer, done_bytes=done_bytes, bytes_per_second=rate))

    async def _record(self, track: _Track, ranges: list[Range], sent_bytes: int, rate: float) -> int | None:
        """Return the bytes that are done, None when the transfer is over and nothing more of it may be sent."""
        transfer = track.transfer
        async with self._catalog.transaction() as connection:
            done_bytes = await record_progress(
                connection, transfer.transfer_id, merged(ranges), sent_bytes=sent_bytes, bytes_per_second=rate
            )
            if done_bytes is None:
                is_open = await record_repeated(connection, transfer.transfer_id, sent_bytes)
                return transfer.size if is_open else None
            # A worker says itself that what it has is right.
            if transfer.direction == "download" and transfer.worker is None and done_bytes == transfer.size:
                await end_with_event(connection, transfer.transfer_id, "completed", self._links, keep_header=True)
        return done_bytes


async def _is_over(connection: Connection, transfer_id: str) -> bool:
    try:
        transfer = await get_transfer(connection, transfer_id)
    except TransferNotFound:
        return True
    if transfer.direction == "upload":
        # The request that completes or fails it is still at work.
        return transfer.state in {"cancelled", "expired"}
    return not transfer.is_open and not await is_in_grace(connection, transfer_id)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return the same bytes as few ranges, in order."""
    found: list[Range] = []
    for first, beyond in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], beyond))
        else:
            found.append((first, beyond))
    return found


def _smoothed(before: float | None, now: float) -> float:
    return now if before is None else before + _NEW_SHARE * (now - before)
