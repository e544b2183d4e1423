"""What is asked of the database and of Prefect when metrics are read: how things stand, in Prometheus' families.

Owns how often they are asked (a second scraper costs nothing), how long is waited for them, and that what does not
answer is left out while the rest is told. Old figures are never given for new ones.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime

from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from blocks.catalog import KINDS, Catalog
from blocks.catalog.statistics import custody_statistics, unfinished_files
from blocks.errors import Transient
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.run_events import OUR_FLOWS
from blocks.webhooks.outbox.statistics import delivery_statistics, events_since
from waybill.gateway.readiness import Check

# Scrapers come every 15 s or so; to ask more often than this makes no figure better.
_FRESH_SECONDS = 2.0
# Prometheus gives up after ten seconds by default.
_PATIENCE_SECONDS = 4.0

log = logging.getLogger("waybill.gateway")

Families = list[Metric]


class Figures:
    """The families of one gateway, gathered when they are asked for."""

    def __init__(self, catalog: Catalog, prefect: PrefectApi) -> None:
        self._prefect = prefect
        self._events = _Events(catalog)
        self._custody = _Source(lambda: _custody(catalog))
        self._deliveries = _Source(lambda: _deliveries(catalog))
        self._told = _Source(self._events.families)
        self._runs = _Source(lambda: _runs(prefect))

    async def gather(self, checks: dict[str, Check]) -> Families:
        """Everything that the dependencies tell which *checks* has found to answer."""
        asked: list[_Source] = []
        if checks["database"].status == "ok":
            asked += [self._custody, self._deliveries, self._told]
        if checks["prefect"].status == "ok":
            asked.append(self._runs)
        found = await asyncio.gather(*(source.families() for source in asked))
        return [_up(checks), *(family for families in found for family in families)]


class _Source:
    """One question, asked once at a time and not again for `_FRESH_SECONDS`. One that hangs is left to itself."""

    def __init__(self, ask: Callable[[], Awaitable[Families]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[Families] | None = None
        self._last: Families = []
        self._last_at = float("-inf")

    async def families(self) -> Families:
        if time.monotonic() - self._last_at < _FRESH_SECONDS:
            return self._last
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._answer())
        await asyncio.wait([self._asking], timeout=_PATIENCE_SECONDS)
        return self._asking.result() if self._asking.done() else []

    async def _answer(self) -> Families:
        try:
            found = list(await self._ask())
        except Transient:
            return []  # what is away is told by waybill_up
        except Exception:
            log.exception("cannot gather a part of the metrics; the rest is told")
            return []
        self._last, self._last_at = found, time.monotonic()
        return found


class _Events:
    """Events counted as they come, from when this gateway was first asked."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._until: datetime | None = None
        self._events = Counter[str]()
        self._stages = Counter[tuple[str, str]]()
        self._stage_seconds: dict[str, float] = {}

    async def families(self) -> Families:
        async with self._catalog.connection() as connection:
            counts, self._until = await events_since(connection, self._until)
        for count in counts:
            self._events[count.event_type] += count.events
            if count.stage is not None:
                outcome = "reused" if count.reused else count.event_type.removeprefix("stage_")
                self._stages[count.stage, outcome] += count.events
                self._stage_seconds[count.stage] = self._stage_seconds.get(count.stage, 0.0) + count.seconds
        events = CounterMetricFamily(
            "waybill_events", "What has happened to runs and documents, as webhooks name it.", labels=["event_type"]
        )
        for event_type, number in sorted(self._events.items()):
            events.add_metric([event_type], number)
        stages = CounterMetricFamily(
            "waybill_stages", "Documents that came out of a stage.", labels=["stage", "outcome"]
        )
        for labels, number in sorted(self._stages.items()):
            stages.add_metric(labels, number)
        seconds = CounterMetricFamily(
            "waybill_stage_seconds", "Time that stages worked on documents.", labels=["stage"]
        )
        for stage, worked in sorted(self._stage_seconds.items()):
            seconds.add_metric([stage], worked)
        return [events, stages, seconds]


def _up(checks: dict[str, Check]) -> Metric:
    found = {name: float(check.status == "ok") for name, check in checks.items() if check.status != "not configured"}
    return _gauge("waybill_up", "Whether a dependency answers.", "dependency", found.items())


async def _custody(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        figures = {one.kind: one for one in await custody_statistics(connection)}
        unfinished = await unfinished_files(connection)
    here = [figures[kind] for kind in KINDS if kind in figures]

    def by_kind(name: str) -> Iterator[tuple[str, float]]:
        for kind in KINDS:
            yield kind, float(getattr(figures[kind], name)) if kind in figures else 0.0

    return [
        _gauge("waybill_custody_files", "Files in custody.", "kind", by_kind("files")),
        _gauge("waybill_custody_bytes", "Bytes that they take up in the storage.", "kind", by_kind("stored_bytes")),
        GaugeMetricFamily("waybill_files_pinned", "Files that stay until unpinned.", sum(one.pinned for one in here)),
        GaugeMetricFamily("waybill_files_damaged", "Files found damaged.", sum(one.damaged for one in here)),
        GaugeMetricFamily(
            "waybill_files_expiring_next_day", "Files that expire within 24 h.", sum(one.expiring for one in here)
        ),
        GaugeMetricFamily(
            "waybill_files_expired_not_removed", "Files that have expired and still take up room.",
            sum(one.expired for one in here),
        ),
        _gauge("waybill_files_unfinished", "Files being written or removed.", "state", unfinished.items()),
    ]  # fmt: skip


async def _deliveries(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        found = await delivery_statistics(connection)
    return [
        _gauge("waybill_webhook_deliveries", "Deliveries on record.", "state", found.by_state.items()),
        GaugeMetricFamily(
            "waybill_webhook_oldest_pending_seconds", "Age of the oldest delivery that is pending.",
            found.oldest_pending_seconds,
        ),
        GaugeMetricFamily(
            "waybill_webhook_overdue_seconds", "How long the first delivery in the line should have been sent by now.",
            found.overdue_seconds,
        ),
        _gauge("waybill_webhook_endpoints", "Endpoints; held: left alone for a while.", "state",
               found.endpoints.items()),
    ]  # fmt: skip


async def _runs(prefect: PrefectApi) -> Families:
    ours = FlowFilter(name=FlowFilterName(any_=list(OUR_FLOWS)))
    async with prefect.client(seconds=_PATIENCE_SECONDS) as client:
        counts = await asyncio.gather(
            *(
                client.count_flow_runs(
                    flow_filter=ours,
                    flow_run_filter=FlowRunFilter(
                        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[state_type]))
                    ),
                )
                for state_type in StateType
            )
        )
    by_state = {state_type.value.lower(): number for state_type, number in zip(StateType, counts, strict=True)}
    return [_gauge("waybill_runs", "Runs in Prefect's history, by the type of their state.", "state", by_state.items())]


def _gauge(name: str, told: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, told, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family
