"""Write the outcomes of attempts to the database, in batches.

One statement writes the outcomes of a few milliseconds, and one transaction with it what they mean for their endpoints.
During a database outage outcomes are kept in memory and written afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from blocks.catalog import Catalog, Connection
from blocks.catalog.skipped_records import SkippedKind, report_skipped
from blocks.errors import CatalogRefused, EndpointNotFound, Transient
from blocks.runtime.outage_log import OutageLog
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.endpoints import disable_endpoint
from blocks.webhooks.outbox import deliveries
from blocks.webhooks.outbox.deliveries import Outcome

_LOG = logging.getLogger("waybill.delivery")

# Bounds one statement: each answer has up to 4 KiB.
_BATCH = 500


@dataclass
class EndpointUpdate:
    """A change to one endpoint's row. Of two, the later one counts, but a pause stays. *gone*: why it is disabled."""

    failures: int = 0
    pause: timedelta | None = None
    because: str = ""
    gone: str | None = None


class OutcomeWriter:
    """Accepts outcomes at any time; calls *on_written* with (endpoint, outcome) pairs once they are committed."""

    def __init__(
        self, catalog: Catalog, limits: Limits, on_written: Callable[[Sequence[tuple[UUID, Outcome]]], None]
    ) -> None:
        self._catalog = catalog
        self._limits = limits
        self._on_written = on_written
        self._outcomes: list[tuple[UUID, Outcome]] = []
        self._updates: dict[UUID, EndpointUpdate] = {}
        self._filled = asyncio.Event()

    def add(self, endpoint_id: UUID, outcome: Outcome) -> None:
        """Queue *outcome* for writing."""
        self._outcomes.append((endpoint_id, outcome))
        self._filled.set()

    def update_endpoint(self, endpoint_id: UUID, update: EndpointUpdate) -> None:
        """Queue *update* for writing, together with the outcomes before it."""
        earlier = self._updates.get(endpoint_id)
        self._updates[endpoint_id] = _combined(earlier, update) if earlier is not None else update
        self._filled.set()

    @property
    def is_empty(self) -> bool:
        """Whether everything is in the database."""
        return not (self._outcomes or self._updates)

    async def run(self) -> None:
        """Write outcomes until cancelled. Survives database outages."""
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
                await asyncio.sleep(self._limits.write_pause_seconds)

    async def flush(self) -> None:
        """Write everything that is queued. Raises `CatalogUnavailable`; then the queue keeps what was not written."""
        while not self.is_empty:
            outcomes, updates = self._outcomes[:_BATCH], self._updates
            self._updates = {}
            try:
                written = await self._write_all(outcomes, updates)
            except BaseException:
                for endpoint_id, later in self._updates.items():
                    updates[endpoint_id] = _combined(updates[endpoint_id], later) if endpoint_id in updates else later
                self._updates = updates
                raise
            # Outcomes that were added meanwhile stand after these.
            del self._outcomes[: len(outcomes)]
            self._on_written(written)
        self._filled.clear()

    async def _write_all(
        self, outcomes: Sequence[tuple[UUID, Outcome]], updates: dict[UUID, EndpointUpdate]
    ) -> Sequence[tuple[UUID, Outcome]]:
        """Write all; where the database refuses them, one by one without those that it refuses. Return the written."""
        try:
            await self._write([outcome for _, outcome in outcomes], updates)
            return outcomes
        except CatalogRefused:
            written: list[tuple[UUID, Outcome]] = []
        for endpoint_id, update in updates.items():
            try:
                await self._write([], {endpoint_id: update})
            except CatalogRefused as error:
                await self._report("endpoint", endpoint_id, error)
        for endpoint_id, outcome in outcomes:
            try:
                await self._write([outcome], {})
                written.append((endpoint_id, outcome))
            except CatalogRefused as error:
                # It stays in work, so that this dispatcher does not send it again and again.
                await self._report("delivery", outcome.delivery_id, error)
        return written

    async def _report(self, kind: SkippedKind, record_id: UUID, error: CatalogRefused) -> None:
        async with self._catalog.connection() as connection:
            await report_skipped(connection, kind, {str(record_id): error.message})

    async def _write(self, outcomes: Sequence[Outcome], updates: dict[UUID, EndpointUpdate]) -> None:
        if not updates:
            async with self._catalog.connection() as connection:
                await deliveries.record_outcomes(connection, outcomes)
            return
        async with self._catalog.transaction() as connection:
            # Endpoints before deliveries and in order of their ids, as the removal of an endpoint locks them: no two
            # transactions can wait for each other.
            healthy = sorted(one for one, update in updates.items() if not update.failures and update.gone is None)
            if healthy:
                await deliveries.mark_healthy(connection, healthy)
            for endpoint_id in sorted(updates):
                await _write_update(connection, endpoint_id, updates[endpoint_id])
            if outcomes:
                await deliveries.record_outcomes(connection, outcomes)


async def _write_update(connection: Connection, endpoint_id: UUID, update: EndpointUpdate) -> None:
    if update.failures or update.pause is not None:
        await deliveries.mark_unhealthy(
            connection, endpoint_id, failures=update.failures, pause=update.pause, because=update.because
        )
    if update.gone is not None:
        try:
            await disable_endpoint(connection, endpoint_id, update.gone)
        except EndpointNotFound:
            _LOG.info("endpoint=%s was removed before it could be disabled", endpoint_id)


def _combined(earlier: EndpointUpdate, later: EndpointUpdate) -> EndpointUpdate:
    return EndpointUpdate(
        failures=later.failures,
        pause=max((one.pause for one in (earlier, later) if one.pause is not None), default=None),
        because=later.because if later.pause is not None else earlier.because,
        gone=later.gone or earlier.gone,
    )
