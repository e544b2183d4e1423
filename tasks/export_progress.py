"""How far an export job is: reported to its row and to a listener in this process, which also shows that it lives.

Ends the work of a job that was cancelled, and of a query that takes longer than it may.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from blocks.catalog import Catalog
from blocks.errors import ExportStopped, WaybillError
from blocks.exports import Claim, renew
from blocks.runtime.background_tasks import running
from blocks.settings import Settings

# Rows of the job are updated this often at most.
_REPORT_SECONDS = 1.0
# A claim that nothing else renews; well below `blocks.exports.jobs.CLAIM_LASTS`.
_RENEW_SECONDS = 10.0


@dataclass
class Progress:
    """How far a job is. Written by the thread that exports, read by the event loop."""

    rows: int = 0
    rows_expected: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    reason: str = ""

    def begin_again(self) -> None:
        """Forget the rows of an attempt that failed."""
        self.rows, self.rows_expected = 0, None

    def end(self, reason: str) -> None:
        """Ask the thread to stop, and say why."""
        self.reason = self.reason or reason
        self.stop.set()

    def check(self) -> None:
        """Raise `ExportStopped` when the thread has been asked to stop."""
        if self.stop.is_set():
            raise ExportStopped(self.reason)


OnProgress = Callable[[Progress], None]


@asynccontextmanager
async def reported(
    progress: Progress,
    claim: Claim,
    catalog: Catalog,
    settings: Settings,
    *,
    is_query: bool,
    on_progress: OnProgress | None,
) -> AsyncGenerator[None]:
    """Report for the length of the block; *is_query* bounds its time. The last report comes at its end."""
    works = [_renew_forever(progress, claim, catalog)]
    if is_query:
        works.append(_end_in_time(progress, settings))
    if on_progress is not None:
        works.append(_notify_forever(progress, on_progress))
    async with running(*works):
        yield
    if on_progress is not None:
        on_progress(progress)


async def _notify_forever(progress: Progress, on_progress: OnProgress) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        on_progress(progress)


async def _renew_forever(progress: Progress, claim: Claim, catalog: Catalog) -> None:
    recorded, renewed = -1, time.monotonic()
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        if progress.rows == recorded and time.monotonic() - renewed < _RENEW_SECONDS:
            continue
        with suppress(WaybillError):  # the database may be back before the claim expires
            async with catalog.connection() as connection:
                kept = await renew(connection, claim, rows=progress.rows, rows_expected=progress.rows_expected)
            recorded, renewed = progress.rows, time.monotonic()
            if not kept:
                progress.end("the export was cancelled")


async def _end_in_time(progress: Progress, settings: Settings) -> None:
    """Say when the time of a query is over; what opened it ends it (`tasks.export.ending`)."""
    seconds = settings.export_query_seconds
    await asyncio.sleep(seconds)
    progress.end(f"the query took longer than {seconds:g} s (WAYBILL_EXPORT_QUERY_SECONDS)")
