"""What attempts tell of an endpoint: whether it takes anything at the moment, and until when it is left alone.

Owns the breaker's and the receiver's pauses, and has them written on the endpoint's row, so that another dispatcher
goes on with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from blocks.webhooks.dispatch.breaker import Breaker
from blocks.webhooks.dispatch.outcome_writer import EndpointUpdate, OutcomeWriter
from blocks.webhooks.dispatch.retry_policy import Decision
from blocks.webhooks.outbox.deliveries import AcquiredEndpoint
from blocks.webhooks.send.client import Attempt

_LOG = logging.getLogger("waybill.delivery")


class Health:
    """Of one endpoint, as its owner sees it."""

    def __init__(self, endpoint: AcquiredEndpoint, outcome_writer: OutcomeWriter, clock: Callable[[], float]) -> None:
        self._endpoint_id = endpoint.endpoint_id
        self._settler = outcome_writer
        self._clock = clock
        self._breaker = Breaker(endpoint.failures)
        self._held_until = 0.0
        self.holds = 0
        """Goes up at every hold: an attempt that began before one says nothing about the time after it."""

    @property
    def is_held(self) -> bool:
        """Whether nothing may be sent at the moment."""
        return self._clock() < self._held_until

    @property
    def wants_probe(self) -> bool:
        """Whether the next delivery is to be sent alone, to see whether the receiver is back."""
        return self._breaker.is_open

    def learn(self, attempt: Attempt, verdict: Decision, delivery_id: UUID, *, holds_before: int) -> float | None:
        """Draw the conclusions from an attempt that began after *holds_before* holds; seconds of one that begins."""
        if verdict.gone:
            _LOG.warning("endpoint=%s disabled because=%s", self._endpoint_id, attempt.error)
            self._tell(EndpointUpdate(failures=self._breaker.failures, gone="it answered 410 Gone"))
            return None
        is_news = holds_before == self.holds
        if attempt.succeeded:
            if is_news and self._breaker.succeeded():
                _LOG.info("endpoint=%s takes deliveries again", self._endpoint_id)
                self._tell(EndpointUpdate())
            return None
        return self._failed(attempt, verdict, delivery_id, is_news=is_news) if verdict.counts else None

    def _failed(self, attempt: Attempt, verdict: Decision, delivery_id: UUID, *, is_news: bool) -> float | None:
        before = self._breaker.failures
        pause = self._breaker.failed(delivery_id) if is_news else None
        because = f"{self._breaker.failures} deliveries failed in a row; the last: {attempt.error}"
        if verdict.patience and (pause is None or verdict.patience > pause):
            pause, because = verdict.patience, "it asked for patience (Retry-After)"
        if pause is not None and self._clock() + pause.total_seconds() > self._held_until:
            self._held_until = self._clock() + pause.total_seconds()
            self.holds += 1
            _LOG.warning("endpoint=%s held seconds=%.0f because=%s", self._endpoint_id, pause.total_seconds(), because)
            self._tell(EndpointUpdate(failures=self._breaker.failures, pause=pause, because=because))
            return pause.total_seconds()
        if self._breaker.failures != before:
            self._tell(EndpointUpdate(failures=self._breaker.failures))
        return None

    def _tell(self, news: EndpointUpdate) -> None:
        self._settler.tell(self._endpoint_id, news)
