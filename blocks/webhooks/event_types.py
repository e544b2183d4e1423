"""Event types; pure. An endpoint filters by them, or receives all of them."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.errors import InvalidOptions

RUN_EVENTS = ("task_started", "task_progress", "task_completed", "task_failed", "task_cancelled", "task_crashed")
DOCUMENT_EVENTS = ("stage_completed", "stage_failed", "stage_chain_completed")
EXPORT_EVENTS = ("export_completed", "export_failed")
RETENTION_EVENTS = ("files_expired", "document_forgotten")
TRANSFER_EVENTS = ("transfer_completed", "transfer_failed")
EVENT_TYPES = (*RUN_EVENTS, *DOCUMENT_EVENTS, *EXPORT_EVENTS, *RETENTION_EVENTS, *TRANSFER_EVENTS)

TEST_EVENT = "webhook_test"
"""Sent only on request, and only to the endpoint of the request."""


def check_event_types(names: Sequence[str]) -> list[str]:
    """Return *names* without duplicates, in the order of `EVENT_TYPES`. Raises `InvalidOptions` for unknown ones."""
    unknown = sorted(set(names) - set(EVENT_TYPES))
    if unknown or not names:
        raise InvalidOptions(
            f"unknown event types: {', '.join(unknown) or '(none given)'}; there are {', '.join(EVENT_TYPES)}"
        )
    return [name for name in EVENT_TYPES if name in names]
