"""Run a dispatcher until the process is asked to end, with its log on stderr."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from blocks.catalog import Catalog
from blocks.runtime.background_tasks import running
from blocks.settings import Settings
from blocks.webhooks.dispatch import Dispatcher
from waybill.process.process_log import log_to_stderr

# Most receivers answer within this. Together with writing the last outcomes it is less than `waybill up` and container
# runtimes wait before they kill; the next dispatcher sends again what is cancelled.
_LAST_ATTEMPTS = timedelta(seconds=5)


def run_dispatcher(
    settings: Settings,
    shutdown_requested: threading.Event,
    *,
    on_ready: Callable[[], None],
    alongside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Send what is due until *shutdown_requested* is set; meanwhile run *alongside*, cancelled at the end. Blocks.

    Raises `CatalogUnavailable` and `InvalidSettings` before *on_ready* is called, and `InvalidSettings` later when the
    database cannot be used any more.
    """
    log_to_stderr()
    # It logs every attempt to reconnect during a database outage; the dispatcher logs the outage once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # Prefect's client, which the reconciler uses, logs every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)

    async def until_asked() -> None:
        async with running(*(work() for work in alongside)) as others:
            asked = asyncio.get_running_loop().create_task(asyncio.to_thread(shutdown_requested.wait))
            done, _ = await asyncio.wait([asked, *others], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {asked}:
            task.result()

    async def dispatch() -> None:
        async with Catalog.open(settings.required_database_url) as catalog:
            dispatcher = Dispatcher.of(settings, catalog)
            on_ready()
            try:
                await dispatcher.run_until(until_asked(), last_attempts=_LAST_ATTEMPTS)
            finally:
                # The event loop cannot close before the thread that waits for the event has ended.
                shutdown_requested.set()

    asyncio.run(dispatch())
