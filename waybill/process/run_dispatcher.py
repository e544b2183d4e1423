"""A dispatcher as a process: until somebody ends it, and what its log says."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from blocks.catalog import Catalog
from blocks.runtime.background_tasks import end_tasks
from blocks.settings import Settings
from blocks.webhooks.dispatch.in_thread import dispatcher_of

# Most receivers answer within this. Together with writing the last outcomes it is less than `waybill up` and container
# runtimes wait before they kill; what is broken off is sent again by the next dispatcher.
_LAST_ATTEMPTS = timedelta(seconds=5)


def run_dispatcher(
    settings: Settings,
    asked_to_end: threading.Event,
    *,
    on_ready: Callable[[], None],
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Send what is due until *asked_to_end*, and run *beside* meanwhile, which goes on until cancelled. Blocks.

    Raises `CatalogUnavailable` and `InvalidSettings` before *on_ready* is called, and `InvalidSettings` later when the
    database cannot be used any more.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # It tells every attempt to reconnect while the database is away; that it is away is told once, by us.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # Prefect's client, which the reconciler uses, tells every request.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(_dispatch(settings, asked_to_end, on_ready, beside))


async def _dispatch(
    settings: Settings,
    asked_to_end: threading.Event,
    on_ready: Callable[[], None],
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]],
) -> None:
    loop = asyncio.get_running_loop()
    async with Catalog.open(settings.required_database_url) as catalog:
        dispatcher = dispatcher_of(settings, catalog)
        running = loop.create_task(dispatcher.run())
        others = [loop.create_task(work()) for work in beside]
        asked = loop.create_task(asyncio.to_thread(asked_to_end.wait))
        on_ready()
        try:
            done, _ = await asyncio.wait([running, asked, *others], return_when=asyncio.FIRST_COMPLETED)
            await dispatcher.stop(within=_LAST_ATTEMPTS)
        finally:
            await end_tasks(others)
            # The thread that waits for it has to end with the loop.
            asked_to_end.set()
        await running
        for task in done - {running, asked}:
            task.result()
