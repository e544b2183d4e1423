"""A dispatcher in a thread of a command's process, with an event loop of its own, for as long as the command runs.

Deliveries go on while the command's own loop is busy. A failure of the dispatcher is logged and never fails the
command: due deliveries stay in the database for the next dispatcher.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self
from uuid import UUID

from blocks.catalog import Catalog
from blocks.errors import CatalogUnavailable, WaybillError
from blocks.settings import Settings
from blocks.webhooks.dispatch.dispatcher import Dispatcher

_LOG = logging.getLogger("waybill.delivery")

# For attempts in flight when the drain is over: most receivers answer within this, and the next dispatcher sends again
# what is cancelled.
_LAST_ATTEMPTS = timedelta(seconds=0.5)
# More than cancelling attempts, writing outcomes and releasing leases takes, as long as the database answers.
_END_SECONDS = 4.0


class DispatcherThread:
    """The dispatcher of one command. With *only_run* set, the drain waits for the events of that run alone."""

    def __init__(self, settings: Settings) -> None:
        self.only_run: UUID | None = None
        self._settings = settings
        self._drain_seconds = 0.0
        self._asked_to_end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waybill-delivery", daemon=True)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncGenerator[Self]:
        """Send what is due during the block and, after it, what is still due, for a bounded time.

        Ends without delay when nothing is due, and when the block ended with an error or an interruption.
        """
        thread = cls(settings)
        thread._thread.start()
        try:
            yield thread
        except BaseException:
            await asyncio.to_thread(thread._end, drain=False)
            raise
        await asyncio.to_thread(thread._end, drain=True)

    def _end(self, *, drain: bool) -> None:
        self._drain_seconds = self._settings.webhook_drain_seconds if drain else 0.0
        self._asked_to_end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._dispatch())
        except WaybillError as exc:
            _LOG.warning("delivery=stopped, what is due waits for another dispatcher: %s", exc.message)
        except Exception:  # noqa: BLE001 - a thread's error would be printed over the command's output
            _LOG.exception("delivery=stopped by a defect, what is due waits for another dispatcher")

    async def _dispatch(self) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.create_task(asyncio.to_thread(self._asked_to_end.wait))
        sending = loop.create_task(self._send(asked))
        try:
            await asyncio.wait([asked, sending], return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(self._drain_seconds + _END_SECONDS):
                await sending
        except TimeoutError:
            raise CatalogUnavailable("the database does not answer") from None
        finally:
            # The event loop cannot close before the thread that waits for the event has ended.
            self._asked_to_end.set()

    async def _send(self, asked: asyncio.Task[bool]) -> None:
        async with Catalog.open(self._settings.required_database_url) as catalog:
            dispatcher = Dispatcher.of(self._settings, catalog)

            async def drained() -> None:
                await asyncio.wait([asked])
                if self._drain_seconds:
                    within = timedelta(seconds=self._drain_seconds)
                    await dispatcher.wait_until_idle(within=within, task_id=self.only_run)

            await dispatcher.run_until(drained(), last_attempts=_LAST_ATTEMPTS)
