"""Runs whose flow raised an error: Prefect calls them Failed, as it does those whose flow has reported failures."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, StateType

# How Prefect begins the message of such a state.
_WORDS = "Flow run encountered an exception: "


def was_raised(state: State[Any] | None) -> bool:
    """Return whether the flow raised: then it has reported nothing of its documents."""
    return state is not None and state.type is StateType.FAILED and (state.message or "").startswith(_WORDS)


def message_of(state: State[Any]) -> str:
    """Return the message of a state; of an error that was raised, its own words."""
    return (state.message or "").removeprefix(_WORDS)
