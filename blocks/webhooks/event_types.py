"""What consumers can be told; pure. An endpoint names the types it wants, or takes all of them."""

from __future__ import annotations

from collections.abc import Sequence

from blocks.errors import InvalidOptions

RUN_EVENTS = ("task_started", "task_progress", "task_completed", "task_failed", "task_cancelled", "task_crashed")
DOCUMENT_EVENTS = ("stage_completed", "stage_failed", "stage_chain_completed")
EVENT_TYPES = (*RUN_EVENTS, *DOCUMENT_EVENTS)

TEST_EVENT = "webhook_test"
"""Sent only when somebody asks for it, and only to the endpoint it was asked for."""


def check_event_types(names: Sequence[str]) -> list[str]:
    """*names* without doubles, in the order of `EVENT_TYPES`. Raises `InvalidOptions` for what does not exist."""
    unknown = sorted(set(names) - set(EVENT_TYPES))
    if unknown or not names:
        raise InvalidOptions(
            f"no events are called {', '.join(unknown) or 'nothing'}; there are {', '.join(EVENT_TYPES)}"
        )
    return [name for name in EVENT_TYPES if name in names]
