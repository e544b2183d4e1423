"""What an attempt means for its delivery and for its endpoint; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from blocks.webhooks.dispatch.schedule import next_pause
from blocks.webhooks.outbox.deliveries import DeliveryState
from blocks.webhooks.send.client import Attempt

_GONE = 410
_NO_PAUSE = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows from one attempt.

    *state* and *pause* are the delivery's. *patience* is what the receiver asked for, for all deliveries to it; *gone*
    says that it wants no more of them; *counts* whether the endpoint may be down.
    """

    state: DeliveryState
    pause: timedelta = _NO_PAUSE
    patience: timedelta | None = None
    gone: bool = False
    counts: bool = False


def decide(
    attempt: Attempt, *, attempts_before: int, schedule: Sequence[timedelta], random: Callable[[], float]
) -> Decision:
    """What follows from *attempt*, which came after *attempts_before* others of the same delivery."""
    if attempt.succeeded:
        return Decision(state="delivered")
    if attempt.hopeless:
        # About the address, not about what is behind it: nothing was sent, and nothing will be.
        return Decision(state="dead")
    if attempt.status == _GONE:
        # Waits for somebody who enables the endpoint, and is then sent at once, as all that waits.
        return Decision(state="pending", gone=True)
    pause = next_pause(schedule, attempts_before + 1, random)
    if pause is None:
        return Decision(state="dead", patience=attempt.retry_after, counts=True)
    if attempt.retry_after is not None:
        pause = max(pause, attempt.retry_after)
    return Decision(state="pending", pause=pause, patience=attempt.retry_after, counts=True)
