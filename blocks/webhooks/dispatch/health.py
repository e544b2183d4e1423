"""Health of one endpoint: whether it accepts deliveries now, and until when it is held.

Owns the pauses of the breaker and of Retry-After, and stores them in the endpoint's row for the next lease owner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import UUID

from blocks.webhooks.dispatch.outcome_writer import EndpointUpdate, OutcomeWriter
from blocks.webhooks.dispatch.retry_policy import Breaker, Decision
from blocks.webhooks.outbox.deliveries import AcquiredEndpoint
from blocks.webhooks.send.client import Attempt

_LOG = logging.getLogger("waybill.delivery")


class Health:
    """The health of one endpoint, as its lease owner sees it."""

    def __init__(self, endpoint: AcquiredEndpoint, outcome_writer: OutcomeWriter, clock: Callable[[], float]) -> None:
        self._endpoint_id = endpoint.endpoint_id
        self._outcome_writer = outcome_writer
        self._clock = clock
        self._breaker = Breaker(endpoint.failures)
        self._held_until = 0.0
        self.holds = 0
        """The number of holds so far: an attempt that began before the last hold says nothing about the time after."""

    @property
    def is_held(self) -> bool:
        """Whether nothing may be sent now."""
        return self._clock() < self._held_until

    @property
    def wants_probe(self) -> bool:
        """Whether the next delivery is to be sent alone, to check whether the receiver is back."""
        return self._breaker.is_open

    def learn(self, attempt: Attempt, decision: Decision, delivery_id: UUID, *, holds_before: int) -> float | None:
        """Apply an attempt that began after *holds_before* holds. Return the seconds of a hold that begins, or None."""
        if decision.gone:
            _LOG.warning("endpoint=%s disabled because=%s", self._endpoint_id, attempt.error)
            self._update(EndpointUpdate(failures=self._breaker.failures, gone="it answered 410 Gone"))
            return None
        is_current = holds_before == self.holds
        if attempt.succeeded:
            if is_current and self._breaker.succeeded():
                _LOG.info("endpoint=%s accepts deliveries again", self._endpoint_id)
                self._update(EndpointUpdate())
            return None
        return self._failed(attempt, decision, delivery_id, is_current=is_current) if decision.counts else None

    def _failed(self, attempt: Attempt, decision: Decision, delivery_id: UUID, *, is_current: bool) -> float | None:
        before = self._breaker.failures
        pause = self._breaker.failed(delivery_id) if is_current else None
        because = f"{self._breaker.failures} deliveries failed in a row; the last: {attempt.error}"
        if decision.retry_after and (pause is None or decision.retry_after > pause):
            pause, because = decision.retry_after, "it asked for a pause (Retry-After)"
        if pause is not None and self._clock() + pause.total_seconds() > self._held_until:
            self._held_until = self._clock() + pause.total_seconds()
            self.holds += 1
            _LOG.warning("endpoint=%s held seconds=%.0f because=%s", self._endpoint_id, pause.total_seconds(), because)
            self._update(EndpointUpdate(failures=self._breaker.failures, pause=pause, because=because))
            return pause.total_seconds()
        if self._breaker.failures != before:
            self._update(EndpointUpdate(failures=self._breaker.failures))
        return None

    def _update(self, update: EndpointUpdate) -> None:
        self._outcome_writer.update_endpoint(self._endpoint_id, update)
