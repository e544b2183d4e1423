"""An outbox in a real database, with everything a dispatcher needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID, uuid4

from blocks.catalog import Catalog
from blocks.settings import Settings
from blocks.webhooks.dispatch import Dispatcher
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.outbox import DeliveryRecord, Event, add_events, computed_event_id, list_deliveries
from blocks.webhooks.registration import Registered, register
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import AddressGuard
from tests.stack_driver import PATIENCE_SECONDS

LOOPBACK = (ip_network("127.0.0.0/8"),)
# Three quick attempts, so that no test waits for a schedule of days.
QUICK = (timedelta(0), timedelta(seconds=0.2), timedelta(seconds=0.2))


class OutboxPlace:
    """One database, one home. Use it through `open_place`."""

    def __init__(self, catalog: Catalog, database_url: str, home: Path) -> None:
        self.catalog = catalog
        self.database_url = database_url
        self.home = home
        self.box = SecretBox.of(Settings(home=home))
        # Those of its dispatchers, unless others are given.
        self.limits = Limits(poll_seconds=0.1)

    async def register(self, url: str, **options: Any) -> Registered:
        """An endpoint for everything that happens."""
        async with self.catalog.transaction() as connection:
            return await register(connection, self.box, url=url, **options)

    async def happen(self, count: int = 1, *, run: UUID | None = None, data: Any = None) -> list[str]:
        """Record *count* events in one transaction; their ids."""
        task_id = run or uuid4()
        events = [
            Event(
                event_id=computed_event_id(task_id, number, uuid4()),
                event_type="stage_completed",
                task_id=task_id,
                source_file="report.pdf",
                occurred_at=datetime.now(UTC),
                data=data or {"sequence": number},
            )
            for number in range(count)
        ]
        async with self.catalog.transaction() as connection:
            assert await add_events(connection, events, lambda event_id: f"http://gateway.example/{event_id}") == count
        return [event.event_id for event in events]

    def dispatcher(self, *, schedule: Sequence[timedelta] = QUICK, **options: Any) -> Dispatcher:
        """A dispatcher that may send to loopback."""
        values = {"guard": AddressGuard(LOOPBACK), "limits": self.limits, **options}
        return Dispatcher(self.catalog, self.box, schedule=schedule, database_url=self.database_url, **values)

    @asynccontextmanager
    async def sending(self, **options: Any) -> AsyncIterator[Dispatcher]:
        """A dispatcher at work, stopped gracefully at the end."""
        dispatcher = self.dispatcher(**options)
        running = asyncio.get_running_loop().create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            await dispatcher.stop(within=timedelta(seconds=0.2))
            await running

    async def execute(self, statement: LiteralString, *values: Any) -> list[Any]:
        """One statement; its rows."""
        async with self.catalog.connection() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchall() if cursor.description else []

    async def log(self, **filters: Any) -> list[DeliveryRecord]:
        """The delivery log, newest first."""
        async with self.catalog.connection() as connection:
            return (await list_deliveries(connection, limit=1000, **filters)).deliveries

    async def states(self) -> dict[str, int]:
        """How many deliveries there are, by state."""
        rows = await self.execute("select state, count(*) as count from webhook_deliveries group by state")
        return {row["state"]: row["count"] for row in rows}

    async def until_states(self, **counts: int) -> None:
        """Wait until the deliveries are as *counts* says, no more and no less."""
        await until(lambda: self._is(counts), f"deliveries are {counts}", told=self.states)

    async def _is(self, counts: dict[str, int]) -> bool:
        return await self.states() == counts


@asynccontextmanager
async def open_place(database_url: str, home: Path) -> AsyncIterator[OutboxPlace]:
    """The place, and no endpoint of it belongs to anybody at the end: whoever sent has given back what it had."""
    async with Catalog.open(database_url) as catalog:
        yield OutboxPlace(catalog, database_url, home)


async def until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    *,
    told: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Poll until *condition* holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        seen = f": {await told()}" if told is not None and time.monotonic() >= deadline else ""
        assert time.monotonic() < deadline, f"after {PATIENCE_SECONDS:g} s it is still not so that {what}{seen}"
        await asyncio.sleep(0.01)
