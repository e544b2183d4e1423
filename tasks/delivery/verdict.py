"""What an attempt means for its delivery and for its endpoint; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from blocks.outbox.deliveries import DeliveryState
from blocks.webhooks.client import Attempt
from tasks.delivery.schedule import next_pause

_GONE = 410
_NO_PAUSE = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What follows from one attempt.

    *state* and *pause* are the delivery's. *patience* is what the receiver asked for, for all deliveries to it; *gone*
    says that it wants no more of them; *counts* whether the endpoint may be down.
    """

    state: DeliveryState
    pause: timedelta = _NO_PAUSE
    patience: timedelta | None = None
    gone: bool = False
    counts: bool = False


def judge(
    attempt: Attempt, *, attempts_before: int, schedule: Sequence[timedelta], random: Callable[[], float]
) -> Verdict:
    """What follows from *attempt*, which came after *attempts_before* others of the same delivery."""
    if attempt.succeeded:
        return Verdict(state="delivered")
    if attempt.hopeless:
        # About the address, not about what is behind it: nothing was sent, and nothing will be.
        return Verdict(state="dead")
    if attempt.status == _GONE:
        # Waits for somebody who enables the endpoint, and is then sent at once, as all that waits.
        return Verdict(state="pending", gone=True)
    pause = next_pause(schedule, attempts_before + 1, random)
    if pause is None:
        return Verdict(state="dead", patience=attempt.retry_after, counts=True)
    if attempt.retry_after is not None:
        pause = max(pause, attempt.retry_after)
    return Verdict(state="pending", pause=pause, patience=attempt.retry_after, counts=True)
