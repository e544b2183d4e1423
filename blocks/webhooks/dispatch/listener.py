"""Listen for Postgres notifications of due deliveries. Losing the connection loses none: the dispatcher also polls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from uuid import UUID

import psycopg
from psycopg.sql import SQL, Identifier

from blocks.errors import Transient
from blocks.postgres import connect_async, postgres_errors
from blocks.runtime.outage_log import OutageLog
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.outbox.queries import CHANNEL, DISPATCHER_SESSION

_LOG = logging.getLogger("waybill.delivery")

# A silent connection is checked this often: a firewall that drops it closes nothing.
_SILENCE_SECONDS = 30.0
_ANSWER_SECONDS = 5.0


class Listener:
    """Calls *on_due* with an endpoint's id, or with None when notifications may have been missed."""

    def __init__(self, database_url: str, limits: Limits, on_due: Callable[[UUID | None], None]) -> None:
        self._database_url = database_url
        self._limits = limits
        self._on_due = on_due

    async def run(self) -> None:
        """Listen until cancelled; reconnect when the connection is lost."""
        outage = OutageLog(_LOG, "listening")
        while True:
            try:
                connection = await connect_async(self._database_url, autocommit=True)
                async with connection:
                    outage.succeeded()
                    with postgres_errors("listen for webhooks"):
                        await self._listen(connection)
            except (Transient, TimeoutError) as exc:
                outage.failed(exc)
                await asyncio.sleep(self._limits.retry_seconds)

    async def _listen(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        # By this name every machine sees that a dispatcher lives.
        await connection.execute("select set_config('application_name', %s, false)", [DISPATCHER_SESSION])
        await connection.execute(SQL("listen {}").format(Identifier(CHANNEL)))
        while True:
            self._on_due(None)
            async for notification in connection.notifies(timeout=_SILENCE_SECONDS):
                self._on_due(_endpoint_id(notification.payload))
            async with asyncio.timeout(_ANSWER_SECONDS):
                await connection.execute("select 1")


def _endpoint_id(payload: str) -> UUID | None:
    try:
        return UUID(payload)
    except ValueError:
        # Any client of the database may notify.
        return None
