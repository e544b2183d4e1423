"""A dispatcher beside a command: in a thread with an event loop of its own, for as long as the command runs.

The command's own loop may be busy for seconds; deliveries go on meanwhile. What goes wrong with deliveries is logged
and never fails the command: they wait in the database for the next dispatcher.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from blocks.catalog import Catalog
from blocks.errors import CatalogUnavailable, WaybillError
from blocks.settings import Settings
from blocks.webhooks.dispatch.dispatcher import Dispatcher
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import AddressGuard

_LOG = logging.getLogger("waybill.delivery")

# Attempts that are under way when the waiting is over: most receivers answer within this, and what is broken off is
# sent again by the next dispatcher.
_LAST_ATTEMPTS = timedelta(seconds=0.5)


# More than breaking off, writing what came of attempts and giving back takes, as long as the database answers.
_END_SECONDS = 4.0


class Delivering:
    """The dispatcher of one command. With *only_of* set, the end waits for the events of that run alone."""

    def __init__(self, settings: Settings) -> None:
        self.only_of: UUID | None = None
        self._settings = settings
        self._patience_seconds = 0.0
        self._asked_to_end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="waybill-delivery", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def end(self, *, drain: bool = True) -> None:
        """Stop. With *drain* send first what is due, for at most `Settings.webhook_drain_seconds`."""
        self._patience_seconds = self._settings.webhook_drain_seconds if drain else 0.0
        self._asked_to_end.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._deliver())
        except WaybillError as exc:
            _LOG.warning("delivery=stopped, what is due waits for another dispatcher: %s", exc.message)
        except Exception:  # noqa: BLE001 - a thread's error would be printed over the command's output
            _LOG.exception("delivery=stopped by a defect, what is due waits for another dispatcher")

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.create_task(asyncio.to_thread(self._asked_to_end.wait))
        sending = loop.create_task(self._send(asked))
        try:
            await asyncio.wait([asked, sending], return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(self._patience_seconds + _END_SECONDS):
                await sending
        except TimeoutError:
            raise CatalogUnavailable("the database does not answer") from None
        finally:
            # The thread that waits for it has to end with the loop.
            self._asked_to_end.set()

    async def _send(self, asked_to_end: asyncio.Task[bool]) -> None:
        async with Catalog.open(self._settings.required_database_url) as catalog:
            dispatcher = dispatcher_of(self._settings, catalog)
            running = asyncio.get_running_loop().create_task(dispatcher.run())
            await asyncio.wait([running, asked_to_end], return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                if self._patience_seconds:
                    within = timedelta(seconds=self._patience_seconds)
                    await dispatcher.wait_until_idle(within=within, task_id=self.only_of)
                await dispatcher.stop(within=_LAST_ATTEMPTS)
            await running


@asynccontextmanager
async def dispatching(settings: Settings) -> AsyncGenerator[Delivering]:
    """Send what is due inside of the block, and at its end what is still due, for a bounded time.

    Returns at once when nothing is due, and when the block was left by an error or an interruption.
    """
    delivering = Delivering(settings)
    delivering.start()
    try:
        yield delivering
    except BaseException:
        await asyncio.to_thread(delivering.end, drain=False)
        raise
    await asyncio.to_thread(delivering.end)


def dispatcher_of(settings: Settings, catalog: Catalog) -> Dispatcher:
    """A dispatcher as *settings* describe it."""
    return Dispatcher(
        catalog,
        SecretBox.of(settings),
        guard=AddressGuard(settings.allow_private_webhooks),
        schedule=settings.webhook_schedule,
        database_url=settings.required_database_url,
    )
