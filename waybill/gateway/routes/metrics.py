"""``GET /metrics`` in Prometheus' text format, for a key with the scope read.

Answers during outages too, with what it has: that is when it is wanted. Only a key that the database has confirmed
lately is let in while the database does not answer.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import Response
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CollectorRegistry, Info, generate_latest
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from blocks.access import READ
from blocks.errors import CatalogUnavailable
from waybill import __version__
from waybill.gateway.dependencies import API_KEY
from waybill.gateway.errors import SAFE_HEADERS, HttpError
from waybill.gateway.openapi import errors
from waybill.gateway.readiness import Readiness
from waybill.gateway.resources import Resources
from waybill.gateway.server.http_metrics import HttpMetrics
from waybill.gateway.statistics import Figures

# How long a key that worked is let in after that although nobody can be asked: longer than most outages. It sees
# numbers only.
_REMEMBERED_SECONDS = 3600.0
# A scraper or two. One more pushes out the one that came first.
_REMEMBERED_KEYS = 16
_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["operation"])


class Metrics:
    """The registry of one application: never the global one, which other libraries fill too."""

    def __init__(self, resources: Resources, readiness: Readiness, clock: Callable[[], float] = time.monotonic) -> None:
        self._gate = resources.gate
        self._readiness = readiness
        self._figures = Figures(resources.custody.catalog, resources.prefect)
        self._clock = clock
        self._registry = CollectorRegistry()
        self.http = HttpMetrics(self._registry)
        ProcessCollector(registry=self._registry)
        Info("waybill_build", "What is running.", registry=self._registry).info({"version": __version__})
        self._gathered = _Gathered()
        self._registry.register(self._gathered)
        self._seen: dict[bytes, float] = {}

    async def admit(self, request: Request) -> None:
        """Let in whoever has the scope read. Raises like `Gate.admit`, `CatalogUnavailable` for unknown keys only."""
        shown = hashlib.sha256(request.headers.get("authorization", "").encode()).digest()
        known = self._clock() - self._seen.get(shown, float("-inf")) < _REMEMBERED_SECONDS
        if known and (await self._readiness.checks())["database"].status != "ok":
            return
        try:
            await self._gate.admit(request, READ)
        except CatalogUnavailable:
            if not known:
                raise
            return
        except HttpError:
            self._seen.pop(shown, None)
            raise
        self._seen[shown] = self._clock()
        while len(self._seen) > _REMEMBERED_KEYS:
            del self._seen[next(iter(self._seen))]

    async def text(self) -> bytes:
        """Everything, in the format of Prometheus."""
        families = await self._figures.gather(await self._readiness.checks())
        # No await between the two: another request's families are not to come in between.
        self._gathered.families = families
        return generate_latest(self._registry)


class _Gathered(Collector):
    """What was gathered for this answer."""

    def __init__(self) -> None:
        self.families: list[Metric] = []

    def collect(self) -> Iterator[Metric]:
        yield from self.families


async def _scraped(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(API_KEY)]) -> Metrics:
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
async def metrics(scraped: Annotated[Metrics, Depends(_scraped)]) -> Response:
    """Requests, runs, stages, custody, webhooks and dependencies in numbers."""
    return Response(await scraped.text(), headers={**SAFE_HEADERS, "Content-Type": _CONTENT_TYPE})
