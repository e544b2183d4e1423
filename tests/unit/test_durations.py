"""Lengths of time: how they are typed, written, and read back from what was written."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.durations import (
    DURATION_PATTERN,
    LONGEST_PERIOD,
    format_duration,
    parse_duration,
    read_duration,
    read_time_limit,
)
from blocks.errors import InvalidOptions
from blocks.retention import RetentionPolicy
from waybill.gateway.http.form_parsing import read_run_time_limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), (" 30d ", 2592000), ("0.5s", 0.5)],
)
def test_lengths_of_time_are_read_and_written(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "h",
        "0s",
        "00d",
        "-1h",
        "+1h",
        "1.5h",
        "1h30m",
        "1 h",
        "1H",
        "1w",
        "1M",
        "1e3s",
        "٣h",
        "12345678d",
        "1234567890123s",
        "999999999999s",
        "0.0s",
        "1.s",
        ".5s",
        "0.0000001s",
        "1h\n2",
    ],
)
def test_other_lengths_of_time_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        parse_duration(text)


def test_the_shortest_way_to_write_a_length_is_taken() -> None:
    written = [format_duration(timedelta(seconds=s)) for s in (1, 60, 90, 3600, 86400, 90000, 0, 0.5, 5400, 86400.25)]
    assert written == ["1s", "1m", "90s", "1h", "1d", "25h", "0d", "0.5s", "90m", "86400.25s"]


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=timedelta(days=9_999_999)))
@example(timedelta(microseconds=1))
@example(LONGEST_PERIOD - timedelta(seconds=1))
@example(timedelta(days=9_999_999))
def test_what_is_written_is_read_back_to_the_same(length: timedelta) -> None:
    text = format_duration(length)
    assert read_duration("--older-than", text) == length
    assert re.search(DURATION_PATTERN, text), "also a form of Prefect accepts it"


def test_an_option_that_is_no_length_is_named() -> None:
    assert read_duration("--history", None) is None
    with pytest.raises(InvalidOptions, match=r"^--history: 'soon' is not a length of time"):
        read_duration("--history", "soon")


@given(st.timedeltas(min_value=timedelta(microseconds=1), max_value=LONGEST_PERIOD))
def test_a_stored_policy_has_the_lengths_that_it_was_made_with(length: timedelta) -> None:
    policy = RetentionPolicy(older_than=length, sources={"*": length})
    assert RetentionPolicy.model_validate_json(policy.model_dump_json()) == policy


def test_a_time_limit_that_no_run_takes_is_refused_where_it_is_typed() -> None:
    assert read_time_limit("--time-limit", None) is None
    assert read_time_limit("--time-limit", "365000d") == LONGEST_PERIOD
    with pytest.raises(InvalidOptions, match="--time-limit: a time limit is 365000d at most, not 365001d"):
        read_time_limit("--time-limit", "365001d")
    with pytest.raises(InvalidOptions, match="time_limit: a time limit is 365000d at most"):
        read_run_time_limit("1000000d")
