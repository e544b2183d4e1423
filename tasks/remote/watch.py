"""Wakes what waits for an assignment when it has changed. A lost connection costs time only: waiters also poll."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Self

from psycopg.sql import SQL, Identifier

from blocks.assignments import CHANNEL
from blocks.errors import Transient
from blocks.postgres import connect_async, postgres_errors
from blocks.runtime.background_tasks import running

# A silent connection is checked this often: a firewall that drops it closes nothing.
_SILENCE_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_RECONNECT_SECONDS = 2.0


class AssignmentWatch:
    """One connection for all assignments of a run. Open it with ``async with AssignmentWatch.open(url) as watch``."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._changed: dict[str, asyncio.Event] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, database_url: str) -> AsyncGenerator[Self]:
        """Listen for the length of the block."""
        watch = cls(database_url)
        async with running(watch._listen()):
            yield watch

    @contextmanager
    def changes(self, assignment_id: str) -> Generator[asyncio.Event]:
        """Yield an event that is set whenever the assignment has changed, or may have."""
        event = self._changed[assignment_id] = asyncio.Event()
        try:
            yield event
        finally:
            del self._changed[assignment_id]

    async def _listen(self) -> None:
        while True:
            try:
                async with await connect_async(self._database_url, autocommit=True) as connection:
                    with postgres_errors("listen for assignments"):
                        await connection.execute(SQL("listen {}").format(Identifier(CHANNEL)))
                        self._wake_all()  # what was notified before
                        while True:
                            async for notification in connection.notifies(timeout=_SILENCE_SECONDS):
                                # Any client of the database may notify.
                                if changed := self._changed.get(notification.payload):
                                    changed.set()
                            async with asyncio.timeout(_ANSWER_SECONDS):
                                await connection.execute("select 1")
            except (Transient, TimeoutError):
                await asyncio.sleep(_RECONNECT_SECONDS)

    def _wake_all(self) -> None:
        for changed in self._changed.values():
            changed.set()
