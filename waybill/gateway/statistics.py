"""The numbers of the metrics endpoint that come from the database and from Prefect, as Prometheus metric families.

Owns how often each is read (a second scraper costs nothing) and how long is waited for it. What does not answer is left
out, and the rest is served; outdated numbers never are.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from typing import get_args

from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter
from prefect.client.schemas.objects import StateType
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from blocks.assignments import count_waiting
from blocks.catalog import KINDS, Catalog, custody_statistics, unfinished_files
from blocks.catalog.skipped_records import SkippedKind, skipped_counts
from blocks.errors import Transient
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.run_events import OUR_FLOWS
from blocks.runtime.freshness import FreshAnswer
from blocks.transfers import open_counts
from blocks.webhooks.outbox.statistics import delivery_statistics, events_since
from blocks.workers import count_workers
from waybill.gateway.access import LINK_HOLDER
from waybill.gateway.fair_places import FairPlaces
from waybill.gateway.readiness import DependencyCheck
from waybill.services.backups import archive_state

# Scrapers ask every 15 s or so; reading more often would not make the numbers better.
_FRESH_SECONDS = 2.0
# Prometheus gives up a scrape after ten seconds by default.
_TIMEOUT_SECONDS = 4.0
# API keys that have a series of their own; the others share one.
_SHOWN_KEYS = 10

log = logging.getLogger("waybill.gateway")

Families = list[Metric]


class Statistics:
    """The metric families of one gateway, read when they are asked for."""

    def __init__(self, catalog: Catalog, prefect: PrefectApi) -> None:
        events = _EventCounts(catalog)
        reading: dict[str, list[Callable[[], Awaitable[Families]]]] = {
            "database": [
                lambda: _custody(catalog),
                lambda: _deliveries(catalog),
                events.families,
                lambda: _hand_over(catalog),
                lambda: _skipped(catalog),
                lambda: _backups(catalog),
            ],
            "prefect": [lambda: _runs(prefect)],
        }
        self._sources = {name: [FreshAnswer(read) for read in reads] for name, reads in reading.items()}

    async def gather(self, checks: dict[str, DependencyCheck]) -> Families:
        """Return the families of each dependency that is "ok" in *checks*, and `waybill_up` of all."""
        ready = [name for name in self._sources if checks[name].status == "ok"]
        found = await asyncio.gather(*(_read(source) for name in ready for source in self._sources[name]))
        return [_up(checks), *(family for families in found for family in families)]


async def _read(source: FreshAnswer[Families]) -> Families:
    try:
        return await source.get(max_age_seconds=_FRESH_SECONDS, timeout_seconds=_TIMEOUT_SECONDS)
    except (Transient, TimeoutError):
        return []  # waybill_up shows that it does not answer
    except Exception:
        log.exception("some metrics cannot be read and are left out")
        return []


class _EventCounts:
    """Counts of events and stages since this gateway was first scraped."""

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
            "waybill_events", "Events of runs and documents, by webhook event type.", labels=["event_type"]
        )
        for event_type, number in sorted(self._events.items()):
            events.add_metric([event_type], number)
        stages = CounterMetricFamily("waybill_stages", "Documents that left a stage.", labels=["stage", "outcome"])
        for labels, number in sorted(self._stages.items()):
            stages.add_metric(labels, number)
        seconds = CounterMetricFamily(
            "waybill_stage_seconds", "Time that stages worked on documents.", labels=["stage"]
        )
        for stage, worked in sorted(self._stage_seconds.items()):
            seconds.add_metric([stage], worked)
        return [events, stages, seconds]


def place_families(uploads: FairPlaces, readers: FairPlaces) -> Families:
    """Return who holds places for uploads and downloads, who waits for one, and what is held in memory for them."""
    places = GaugeMetricFamily("waybill_places", "Places for uploads and downloads.", labels=["kind", "state"])
    by_key = GaugeMetricFamily(
        "waybill_places_held", "Places held by the API keys with the most; key: its id, links, or other.",
        labels=["kind", "key"],
    )  # fmt: skip
    for kind, some in (("upload", uploads), ("download", readers)):
        held = some.held()
        for state, number in (("held", sum(held.values())), ("waiting", some.waiting), ("free", some.free)):
            places.add_metric([kind, state], number)
        shown = Counter({"links": 0})
        for holder, number in held.items():
            is_link = holder.startswith(LINK_HOLDER)
            shown["links" if is_link else holder if len(shown) <= _SHOWN_KEYS else "other"] += number
        for holder, number in shown.items():
            by_key.add_metric([kind, holder], number)
    buffered = GaugeMetricFamily(
        "waybill_readers_buffered_bytes", "Bytes of content that downloads hold in memory.", readers.buffered_bytes
    )
    return [places, by_key, buffered]


def _up(checks: dict[str, DependencyCheck]) -> Metric:
    found = {name: float(check.status == "ok") for name, check in checks.items() if check.status != "not configured"}
    return _gauge("waybill_up", "Whether a dependency answers.", "dependency", found.items())


async def _custody(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        found = {one.kind: one for one in await custody_statistics(connection)}
        unfinished = await unfinished_files(connection)
    kinds = [found[kind] for kind in KINDS if kind in found]

    def by_kind(name: str) -> Iterator[tuple[str, float]]:
        for kind in KINDS:
            yield kind, float(getattr(found[kind], name)) if kind in found else 0.0

    return [
        _gauge("waybill_custody_files", "Files in custody.", "kind", by_kind("files")),
        _gauge("waybill_custody_bytes", "Bytes that they occupy in the storage.", "kind", by_kind("stored_bytes")),
        GaugeMetricFamily(
            "waybill_files_pinned", "Files that are kept until they are unpinned.", sum(one.pinned for one in kinds)
        ),
        GaugeMetricFamily(
            "waybill_files_held", "Files that are under a legal hold.", sum(one.held for one in kinds)
        ),
        GaugeMetricFamily("waybill_files_damaged", "Files found damaged.", sum(one.damaged for one in kinds)),
        GaugeMetricFamily(
            "waybill_files_expiring_next_day", "Files that expire within 24 h.", sum(one.expiring for one in kinds)
        ),
        GaugeMetricFamily(
            "waybill_files_expired_not_removed", "Files that have expired and are still stored.",
            sum(one.expired for one in kinds),
        ),
        _gauge("waybill_files_unfinished", "Files being written or deleted.", "state", unfinished.items()),
    ]  # fmt: skip


async def _deliveries(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        found = await delivery_statistics(connection)
    return [
        _gauge("waybill_webhook_deliveries", "Webhook deliveries in the database.", "state", found.by_state.items()),
        GaugeMetricFamily(
            "waybill_webhook_oldest_pending_seconds", "Age of the oldest pending delivery.",
            found.oldest_pending_seconds,
        ),
        GaugeMetricFamily(
            "waybill_webhook_overdue_seconds", "How long ago the most overdue delivery was due.",
            found.overdue_seconds,
        ),
        _gauge("waybill_webhook_endpoints", "Webhook endpoints; held: paused for a while.", "state",
               found.endpoints.items()),
    ]  # fmt: skip


async def _hand_over(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        transfers = await open_counts(connection)
        workers = await count_workers(connection)
        waiting = await count_waiting(connection)
    moving = {direction: transfers.get(direction, (0, 0.0)) for direction in ("download", "upload")}
    states = [(state, float(workers.get(state, 0))) for state in ("present", "absent", "revoked")]
    return [
        _gauge("waybill_transfers_open", "Transfers that are not over.", "direction",
               ((direction, count) for direction, (count, _) in moving.items())),
        _gauge("waybill_transfers_left_bytes", "Bytes that open transfers have still to move.", "direction",
               ((direction, left) for direction, (_, left) in moving.items())),
        _gauge("waybill_remote_workers", "Remote workers; present: heard of within 60 s.", "state", states),
        GaugeMetricFamily("waybill_assignments_waiting", "Assignments that no remote worker has claimed.", waiting),
    ]  # fmt: skip


async def _skipped(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        counts = await skipped_counts(connection)
    return [
        _gauge(
            "waybill_skipped_records",
            "Records that cannot be read and were left out within the last hour.",
            "kind",
            ((kind, counts.get(kind, 0)) for kind in get_args(SkippedKind)),
        )
    ]


async def _backups(catalog: Catalog) -> Families:
    async with catalog.connection() as connection:
        found = await archive_state(connection)
    has_gap = found is not None and not found.is_intact
    pending_bytes = found.pending_bytes if found is not None else None
    return [
        GaugeMetricFamily("waybill_backup_gap", "Whether the archived log has a gap.", float(has_gap)),
        GaugeMetricFamily("waybill_backup_pending_bytes", "Log that is not archived yet.", pending_bytes or 0),
    ]


async def _runs(prefect: PrefectApi) -> Families:
    ours = FlowFilter(name=FlowFilterName(any_=list(OUR_FLOWS)))
    async with prefect.client(seconds=_TIMEOUT_SECONDS) as client:
        counts = await asyncio.gather(
            *(
                client.count_flow_runs(
                    flow_filter=ours,
                    flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": [state_type]}}}),
                )
                for state_type in StateType
            )
        )
    by_state = {state_type.value.lower(): number for state_type, number in zip(StateType, counts, strict=True)}
    return [_gauge("waybill_runs", "Runs in Prefect's history, by state type.", "state", by_state.items())]


def _gauge(name: str, documentation: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family
