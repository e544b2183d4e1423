"""Retry-After: seconds and the three forms of a date; nonsense is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.retry_after import MAX_PAUSE, parse_retry_after

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 120\t", 120),
        ("007", 7),
        ("86400", 86400),
        ("86401", 86400),
        ("9" * 60, 86400),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30),
        ("Friday, 20-Nov-26 12:00:30 GMT", 30),
        ("Fri Nov 20 12:00:30 2026", 30),
        ("Tue Dec  1 00:00:00 2026", 86400),
        ("Fri, 20 Nov 2026 23:59:60 GMT", 43199),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
    ],
)
def test_reads_seconds_and_dates_and_caps_them(value: str, seconds: int) -> None:
    assert parse_retry_after(value, now=NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "0x10",
        "1_000",
        "１２０",
        "120, 120",
        "120s",
        "9" * 100,
        "2026-11-20T12:00:30Z",
        "20 Nov 2026 12:00:30 GMT",
        "Fri, 20 Nov 2026 12:00:30",
        "Fri, 20 Nov 2026 12:00:30 +0000",
        "Fri, 20 Nov 2026 12:00:30 PST",
        "fri, 20 nov 2026 12:00:30 gmt",
        "Fri, 31 Nov 2026 12:00:30 GMT",
        "Fri, 20 Foo 2026 12:00:30 GMT",
        "Fri, 20 Nov 2026 24:00:00 GMT",
        "Fri, 20 Nov 0000 12:00:30 GMT",
        "Fri, 20 Nov 2026 12:00:30 GMT\n",
        "Fri, 20 Nov 2026 12:00:00 GMT",
        "Thu, 19 Nov 2026 12:00:30 GMT",
        "Friday, 20-Nov-77 12:00:30 GMT",
    ],
)
def test_ignores_nonsense_and_what_is_over(value: str | None) -> None:
    assert parse_retry_after(value, now=NOW) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]+,? [ 0-9a-zA-Z:-]+ GMT", fullmatch=True))
def test_never_raises_and_never_asks_for_more_than_a_day(value: str) -> None:
    pause = parse_retry_after(value, now=NOW)
    assert pause is None or timedelta(0) <= pause <= MAX_PAUSE
