"""How often somebody may come, by a clock that the test moves."""

from __future__ import annotations

import pytest

from waybill.gateway.http.rate_limit import RateLimit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limit(clock: Clock) -> RateLimit:
    return RateLimit(clock)


def test_a_minutes_worth_may_come_at_once_and_no_more(limit: RateLimit) -> None:
    assert [limit.take("a", 3) for _ in range(3)] == [0.0] * 3
    assert limit.take("a", 3) == pytest.approx(20.0)


def test_whoever_waits_as_long_as_told_may_come(limit: RateLimit, clock: Clock) -> None:
    for _ in range(3):
        limit.take("a", 3)
    clock.now += limit.take("a", 3) + 1e-6
    assert limit.take("a", 3) == 0.0
    assert limit.take("a", 3) > 0


def test_what_was_refused_does_not_count(limit: RateLimit, clock: Clock) -> None:
    for _ in range(100):
        limit.take("a", 1)
    clock.now += 60.001
    assert limit.take("a", 1) == 0.0


def test_a_long_pause_is_worth_one_minute_and_not_more(limit: RateLimit, clock: Clock) -> None:
    limit.take("a", 3)
    clock.now += 86_400
    assert [limit.take("a", 3) == 0.0 for _ in range(4)] == [True, True, True, False]


def test_over_a_long_time_the_rate_is_the_one_asked_for(limit: RateLimit, clock: Clock) -> None:
    came = 0
    for _ in range(100_000):
        came += limit.take("a", 60) == 0.0
        clock.now += 0.01
    assert came == pytest.approx(1000 + 60, abs=2)


def test_nobody_takes_from_another(limit: RateLimit) -> None:
    assert limit.take("a", 1) == 0.0
    assert limit.take("a", 1) > 0
    assert limit.take("b", 1) == 0.0


def test_many_names_are_forgotten_but_not_those_that_still_wait(limit: RateLimit, clock: Clock) -> None:
    for number in range(10_001):
        limit.take(f"early {number}", 1)
    clock.now += 61
    assert limit.take("late", 1) == 0.0
    limit.take("one more", 1)
    assert len(limit._buckets) < 10
    assert limit.take("late", 1) > 0
