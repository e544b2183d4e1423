"""What came of attempts, on its way into the database.

Owns gathering: outcomes that come within a few milliseconds are written by one statement, and what they mean for their
endpoints in the same transaction. While the database is away they are kept, and written when it is back. Writing again
what may have been written is harmless: an attempt is known by its delivery and the moment it began.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from blocks.catalog import Catalog, Connection
from blocks.errors import EndpointNotFound, Transient
from blocks.runtime.outage_log import OutageLog
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.endpoints import disable_endpoint
from blocks.webhooks.outbox import deliveries
from blocks.webhooks.outbox.deliveries import Outcome

_LOG = logging.getLogger("waybill.delivery")

# One statement's worth: answers have up to 4 KiB each.
_BATCH = 500


@dataclass
class EndpointUpdate:
    """What is to be written about one endpoint; later news win, but a pause stays. *gone* says why it is disabled."""

    failures: int = 0
    pause: timedelta | None = None
    because: str = ""
    gone: str | None = None


@dataclass
class _Waiting:
    outcomes: list[tuple[UUID, Outcome]] = field(default_factory=list[tuple[UUID, Outcome]])
    news: dict[UUID, EndpointUpdate] = field(default_factory=dict[UUID, EndpointUpdate])


class OutcomeWriter:
    """Takes outcomes at any time; *on_settled* is called with (endpoint, outcome) pairs once they are committed."""

    def __init__(
        self, catalog: Catalog, limits: Limits, on_settled: Callable[[Sequence[tuple[UUID, Outcome]]], None]
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._on_settled = on_settled
        self._waiting = _Waiting()
        self._filled = asyncio.Event()

    def add(self, endpoint_id: UUID, outcome: Outcome) -> None:
        """Write *outcome* soon."""
        self._waiting.outcomes.append((endpoint_id, outcome))
        self._filled.set()

    def tell(self, endpoint_id: UUID, news: EndpointUpdate) -> None:
        """Write *news* soon, together with the outcomes that came before."""
        earlier = self._waiting.news.get(endpoint_id)
        if earlier is not None:
            news = _combined(earlier, news)
        self._waiting.news[endpoint_id] = news
        self._filled.set()

    @property
    def is_empty(self) -> bool:
        """Whether everything is in the database."""
        return not (self._waiting.outcomes or self._waiting.news)

    async def run(self) -> None:
        """Write what comes, until cancelled. Survives a database that goes away."""
        outage = OutageLog(_LOG, "writing outcomes")
        while True:
            await self._filled.wait()
            try:
                await self.flush()
            except Transient as exc:
                outage.failed(exc)
                await asyncio.sleep(self._limits.retry_seconds)
            else:
                outage.succeeded()
                await asyncio.sleep(self._limits.settle_pause_seconds)

    async def flush(self) -> None:
        """Write everything now. Raises `CatalogUnavailable`; then nothing is lost."""
        while not self.is_empty:
            outcomes, news = self._waiting.outcomes[:_BATCH], self._waiting.news
            self._waiting.news = {}
            try:
                await self._write([outcome for _, outcome in outcomes], news)
            except BaseException:
                for endpoint_id, later in self._waiting.news.items():
                    news[endpoint_id] = _combined(news[endpoint_id], later) if endpoint_id in news else later
                self._waiting.news = news
                raise
            # What was added meanwhile stands behind.
            del self._waiting.outcomes[: len(outcomes)]
            self._on_settled(outcomes)
        self._filled.clear()

    async def _write(self, outcomes: Sequence[Outcome], news: dict[UUID, EndpointUpdate]) -> None:
        if not news:
            async with self._catalog.connection() as connection:
                await deliveries.settle(connection, outcomes)
            return
        async with self._catalog.transaction() as connection:
            # Endpoints first and in one order everywhere, as who removes one does it: so nobody waits in a circle.
            sound = sorted(one for one, what in news.items() if not what.failures and what.gone is None)
            if sound:
                await deliveries.mark_healthy(connection, sound)
            for endpoint_id in sorted(news):
                await _write_news(connection, endpoint_id, news[endpoint_id])
            if outcomes:
                await deliveries.settle(connection, outcomes)


async def _write_news(connection: Connection, endpoint_id: UUID, news: EndpointUpdate) -> None:
    if news.failures or news.pause is not None:
        await deliveries.mark_failing(
            connection, endpoint_id, failures=news.failures, pause=news.pause, because=news.because
        )
    if news.gone is not None:
        try:
            await disable_endpoint(connection, endpoint_id, news.gone)
        except EndpointNotFound:
            _LOG.info("endpoint=%s was removed before it could be disabled", endpoint_id)


def _combined(earlier: EndpointUpdate, later: EndpointUpdate) -> EndpointUpdate:
    return EndpointUpdate(
        failures=later.failures,
        pause=max((one.pause for one in (earlier, later) if one.pause is not None), default=None),
        because=later.because if later.pause is not None else earlier.because,
        gone=later.gone or earlier.gone,
    )
