"""What follows from an attempt: the schedule, the breaker and the decision, without a clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from blocks.settings.settings import DEFAULT_WEBHOOK_SCHEDULE
from blocks.webhooks.dispatch.retry_policy import (
    BREAKER_THRESHOLD,
    LONGEST_PAUSE,
    Breaker,
    Decision,
    decide,
    next_pause,
)
from blocks.webhooks.send.client import Attempt

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def attempt(status: int | None, *, retry_after: timedelta | None = None, hopeless: bool = False) -> Attempt:
    return Attempt(
        started_at=datetime(2026, 1, 2, tzinfo=UTC),
        milliseconds=1.0,
        status=status,
        peer=None,
        error=None if status is not None and status < 300 else "something",
        answer=None,
        retry_after=retry_after,
        hopeless=hopeless,
    )


def decision(given: Attempt, *, before: int = 0, schedule: Sequence[timedelta] = DEFAULT_WEBHOOK_SCHEDULE) -> Decision:
    return decide(given, attempts_before=before, schedule=schedule, random=lambda: 0.0)


def test_the_whole_schedule_without_jitter() -> None:
    pauses = [next_pause(DEFAULT_WEBHOOK_SCHEDULE, made, lambda: 0.0) for made in range(1, 11)]
    assert pauses == [
        5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR, None,
    ]  # fmt: skip


def test_jitter_makes_a_pause_longer_by_a_tenth_at_most_and_never_shorter() -> None:
    assert next_pause(DEFAULT_WEBHOOK_SCHEDULE, 2, lambda: 1.0) == 5.5 * MINUTE
    assert next_pause(DEFAULT_WEBHOOK_SCHEDULE, 2, lambda: 0.5) == 5.25 * MINUTE


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_success(status: int) -> None:
    assert decision(attempt(status)) == Decision(state="delivered")


@pytest.mark.parametrize("status", [100, 301, 302, 304, 400, 401, 404, 429, 500, 503, 599, None])
def test_everything_else_is_tried_again(status: int | None) -> None:
    assert decision(attempt(status)) == Decision(state="pending", pause=5 * SECOND, counts=True)


def test_after_the_last_attempt_it_is_dead() -> None:
    assert decision(attempt(500), before=8).state == "pending"
    assert decision(attempt(500), before=9) == Decision(state="dead", counts=True)
    # A schedule that has become shorter meanwhile.
    assert decision(attempt(500), before=9, schedule=[SECOND]).state == "dead"


def test_what_can_never_be_sent_is_dead_at_once_and_says_nothing_about_the_receiver() -> None:
    assert decision(attempt(None, hopeless=True)) == Decision(state="dead")


def test_gone_disables_and_the_delivery_waits_even_after_its_last_attempt() -> None:
    assert decision(attempt(410, retry_after=HOUR), before=9) == Decision(state="pending", gone=True)


def test_the_longer_of_schedule_and_retry_after_holds() -> None:
    longer = decision(attempt(429, retry_after=HOUR))
    assert (longer.pause, longer.retry_after) == (HOUR, HOUR)
    shorter = decision(attempt(503, retry_after=SECOND), before=1)
    assert (shorter.pause, shorter.retry_after) == (5 * MINUTE, SECOND)


def test_one_delivery_that_fails_again_and_again_never_opens_the_breaker() -> None:
    breaker, delivery = Breaker(), uuid4()
    assert [breaker.failed(delivery) for _ in range(100)] == [None] * 100
    assert breaker.failures == 1


def test_a_success_in_between_makes_the_count_begin_anew() -> None:
    breaker = Breaker()
    for _ in range(10):
        assert [breaker.failed(uuid4()) for _ in range(BREAKER_THRESHOLD - 1)] == [None] * (BREAKER_THRESHOLD - 1)
        assert breaker.succeeded()
        assert not breaker.succeeded()
    assert not breaker.is_open


def test_an_endpoint_that_fails_everything_is_tried_once_after_pauses_that_grow_to_a_minute() -> None:
    breaker = Breaker()
    pauses = [breaker.failed(uuid4()) for _ in range(BREAKER_THRESHOLD + 9)]
    seconds = [pause.total_seconds() for pause in pauses if pause is not None]
    assert seconds == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert breaker.is_open
    assert breaker.succeeded()
    assert not breaker.is_open
    assert breaker.failed(uuid4()) is None


def test_another_owner_goes_on_where_the_first_one_was_and_the_same_delivery_may_be_the_probe() -> None:
    breaker, delivery = Breaker(BREAKER_THRESHOLD + 2), uuid4()
    assert breaker.is_open
    assert breaker.failed(delivery) == 8 * SECOND
    assert breaker.failed(delivery) == 16 * SECOND
    assert Breaker(1_000_000).failed(delivery) == LONGEST_PAUSE
