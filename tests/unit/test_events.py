"""Bodies of events: whatever is in the data, consumers get JSON that every parser takes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from blocks.webhooks.outbox.event import MAX_BODY_BYTES, Event, render, sequence_of

NOW = datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=UTC)


def body(source_file: str = "a\ud800.pdf", **data: Any) -> dict[str, Any]:
    event = Event(
        event_id="evt_1",
        event_type="stage_completed",
        task_id=None,
        source_file=source_file,
        occurred_at=NOW,
        data=data,
    )
    found = json.loads(render(event, lambda _: None).body)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a lone \ud800 surrogate", "a lone \N{REPLACEMENT CHARACTER} surrogate"),
        (float("nan"), None),
        (float("inf"), None),
        (2**63 - 1, 2**63 - 1),
        (2**80, str(2**80)),
        ({1: "a", "b": [float("nan"), 2**80]}, {"1": "a", "b": [None, str(2**80)]}),
        (MappingProxyType({"x": (1, 2)}), {"x": [1, 2]}),
        ("\x00\x1b[31m", "\x00\x1b[31m"),
    ],
)
def test_odd_values_become_plain_json(value: Any, told: Any) -> None:
    found = body(value=value)
    assert found["data"]["value"] == told
    assert found["source_file"] == "a\N{REPLACEMENT CHARACTER}.pdf"
    assert found["timestamp"] == "2026-01-02T03:04:05.600000Z"


def test_numbers_that_json_does_not_have_are_null_where_nothing_else_is_odd() -> None:
    assert body("a.pdf", value=[float("nan"), 1.5])["data"]["value"] == [None, 1.5]


@pytest.mark.parametrize("source_file", ["https://host.example/?" + "x" * 30_000, "/srv/" + "\x01" * 4_000])
def test_a_body_is_short_however_long_its_source_is_and_the_whole_one_has_it(source_file: str) -> None:
    event = Event(
        event_id="evt_1", event_type="task_failed", task_id=None, source_file=source_file, occurred_at=NOW,
        data={"status": "failed", "message": "\x01" * 500, "sequence": 7},
    )  # fmt: skip
    made = render(event, lambda event_id: f"https://host.example/{event_id}")
    assert len(made.body) < MAX_BODY_BYTES
    sent = json.loads(made.body)
    assert (sent["source_file"], sent["event_type"], sent["data"]["thinned"]) == (None, "task_failed", True)
    assert (sent["data"]["payload_url"], sent["data"]["sequence"]) == ("https://host.example/evt_1", 7)
    assert made.whole_body is not None
    assert json.loads(made.whole_body)["source_file"] == source_file


def test_the_sequence_grows_with_time_and_fits_into_a_javascript_number() -> None:
    assert sequence_of(NOW) == 1_767_323_045_600_000
    assert sequence_of(NOW) < 2**53
