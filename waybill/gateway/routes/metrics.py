"""``GET /metrics`` in Prometheus' text format, for a key with the scope `read`.

Owns the registry and the counters of requests. Answers during outages too, with what it has: while the database does
not answer, only keys that it confirmed recently are admitted.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from blocks.access import READ
from blocks.errors import CatalogUnavailable
from waybill import __version__
from waybill.gateway.dependencies import Credentials
from waybill.gateway.errors import SAFE_HEADERS, HttpError
from waybill.gateway.openapi import errors
from waybill.gateway.readiness import Readiness
from waybill.gateway.resources import Resources
from waybill.gateway.statistics import Statistics, place_families

# How long a confirmed key is admitted while the database does not answer: longer than most outages. It reads numbers
# only.
_REMEMBER_KEY_SECONDS = 3600.0
# One or two scrapers; a further key replaces the oldest.
_REMEMBERED_KEYS = 16
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Other methods share one label: clients must not be able to create series.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# From a response that needs no lookup (a millisecond) to the upload of some gigabytes.
_BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)

router = APIRouter(tags=["operation"])


class HttpMetrics:
    """Counts finished requests; a `waybill.gateway.request_log.Observer`.

    Label values are bounded: the route is the path template of the API, unknown methods are "other".
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # Otherwise each series gets a second one with its creation time.
        disable_created_metrics()
        self._requests = Counter(
            "waybill_http_requests", "Requests answered; status 499: the client left before the answer began.",
            ("method", "route", "status"), registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "waybill_http_request_seconds", "From the request's head to the last byte of its answer.",
            ("method", "route"), buckets=_BUCKETS_SECONDS, registry=registry,
        )  # fmt: skip
        self._bytes_sent = Counter(
            "waybill_http_response_bytes", "Bytes of bodies sent.", ("route",), registry=registry
        )

    def __call__(self, *, method: str, route: str, status: int, seconds: float, bytes_sent: int) -> None:
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)
        self._bytes_sent.labels(route).inc(bytes_sent)


class Metrics(Collector):
    """The metrics of one application, in a registry of its own: other libraries write to the global one."""

    def __init__(self, resources: Resources, readiness: Readiness, clock: Callable[[], float] = time.monotonic) -> None:
        self._gate = resources.gate
        self._uploads, self._readers = resources.uploads, resources.readers
        self._readiness = readiness
        self._statistics = Statistics(resources.custody.catalog, resources.prefect)
        self._clock = clock
        self._registry = CollectorRegistry()
        self.http = HttpMetrics(self._registry)
        ProcessCollector(registry=self._registry)
        Info("waybill_build", "The running version.", registry=self._registry).info({"version": __version__})
        self._families: list[Metric] = []
        self._registry.register(self)
        self._confirmed_at: dict[bytes, float] = {}

    async def admit(self, request: Request) -> None:
        """Admit a key with the scope `read`. Raises like `Gate.admit`; `CatalogUnavailable` for unconfirmed keys."""
        digest = hashlib.sha256(request.headers.get("authorization", "").encode()).digest()
        confirmed = self._clock() - self._confirmed_at.get(digest, float("-inf")) < _REMEMBER_KEY_SECONDS
        if confirmed and (await self._readiness.checks())["database"].status != "ok":
            return
        try:
            await self._gate.admit(request, READ)
        except CatalogUnavailable:
            if not confirmed:
                raise
            return
        except HttpError:
            self._confirmed_at.pop(digest, None)
            raise
        self._confirmed_at[digest] = self._clock()
        while len(self._confirmed_at) > _REMEMBERED_KEYS:
            del self._confirmed_at[next(iter(self._confirmed_at))]

    async def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        families = await self._statistics.gather(await self._readiness.checks())
        # No await from here on: another request would replace the families.
        self._families = [*families, *place_families(self._uploads, self._readers)]
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the families that were gathered for the current response."""
        yield from self._families


async def _admitted(request: Request, _: Credentials) -> Metrics:
    metrics = cast("Metrics", request.app.state.metrics)
    await metrics.admit(request)
    return metrics


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Metrics in Prometheus' text format",
            "content": {"text/plain": {"example": 'waybill_up{dependency="database"} 1.0\n'}},
        },
        **errors(),
    },
)
async def metrics(collected: Annotated[Metrics, Depends(_admitted)]) -> Response:
    """Return counts of requests, runs, stages, files and webhooks, and whether the dependencies answer."""
    return Response(await collected.text(), headers={**SAFE_HEADERS, "Content-Type": _CONTENT_TYPE})
