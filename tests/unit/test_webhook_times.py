"""Times as people type them for deliveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blocks.errors import InvalidOptions
from waybill.commands.webhook_deliveries import read_moment

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("7d", NOW - timedelta(days=7)),
        ("9999999d", datetime.min.replace(tzinfo=UTC)),
        ("2026-01-01T08:00Z", datetime(2026, 1, 1, 8, tzinfo=UTC)),
        ("0001-01-01T00:00+14:00", datetime.fromisoformat("0001-01-01T00:00+14:00")),
    ],
)
def test_a_time_is_a_moment_or_how_long_ago(text: str, moment: datetime) -> None:
    assert read_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-01T08:00", "-1d", "1.5h", "99999999d"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(InvalidOptions):
        read_moment(text, NOW)
