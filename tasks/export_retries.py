"""Begin an export again when a storage, a database or a source is away for a moment. Only types decide."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from blocks.errors import Transient

# As for stages: what is away for a moment is back by then, and what is not has to be seen to.
RETRY_DELAYS_SECONDS = (1.0, 5.0, 15.0)

T = TypeVar("T")

_LOG = logging.getLogger("waybill.exports")


async def retried(work: Callable[[], Awaitable[T]], *, name: str, is_ended: Callable[[], bool] = lambda: False) -> T:
    """Return the result of *work*; after a transient error call it again, three times at most.

    *work* undoes what it had begun. It is not called again once *is_ended*. *name* is for the log.
    """
    for pause_seconds in RETRY_DELAYS_SECONDS:
        try:
            return await work()
        except Transient as error:
            if is_ended():
                raise
            pause_seconds = max(pause_seconds, float(getattr(error, "retry_after_seconds", 0.0)))  # noqa: PLW2901
            _LOG.warning("%s begins again in %g s: %s", name, pause_seconds, error.message)
        await asyncio.sleep(pause_seconds)
    return await work()
