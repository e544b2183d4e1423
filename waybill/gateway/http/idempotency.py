"""`Idempotency-Key`: a request that is sent again, because its answer was lost, does its work once.

After the draft of the IETF's HTTP API working group (draft-ietf-httpapi-idempotency-key-header): the same request gets
the same answer, another one under the same key 422, and one that comes while the first is still being worked on waits a
while for its answer and then gets 409. Keys are a client's own, and are remembered for a day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from blocks.access.idempotency import CLAIM_LASTS, Answered, Claim, InProgress, claim, release_claim, renew
from blocks.catalog import Catalog
from blocks.errors import WaybillError
from blocks.runtime.threads import to_its_end
from waybill.gateway.errors import HttpError

# The other one is most likely about to be done.
_PATIENCE_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.1


@asynccontextmanager
async def idempotent(
    catalog: Catalog, namespace: str, idempotency_key: str | None
) -> AsyncGenerator[Claim | Answered | None]:
    """The right to do the work (None without a key: always), or the answer that was given already.

    While the block lasts, nobody else does the work. Unless an answer was noted by its end, the next one may begin.
    Raises `HttpError` (409).
    """
    if idempotency_key is None:
        yield None
        return
    found = await _claimed(catalog, namespace, idempotency_key)
    if isinstance(found, Answered):
        yield found
        return
    renewing = asyncio.create_task(_renew(catalog, found))
    try:
        yield found
    finally:
        renewing.cancel()
        with suppress(WaybillError):  # then it lapses by itself
            await to_its_end(_let_go(catalog, found))


def request_taken_over() -> HttpError:
    """The answer to whoever held the claim and lost it, cut off from the database for too long."""
    return HttpError(
        409, "RequestTakenOver", "the same request was begun anew by somebody else; ask there, or try again"
    )


async def _claimed(catalog: Catalog, namespace: str, idempotency_key: str) -> Claim | Answered:
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        async with catalog.connection() as connection:
            found = await claim(connection, namespace, idempotency_key)
        if not isinstance(found, InProgress):
            return found
        if time.monotonic() > until:
            raise HttpError(
                409,
                "RequestUnderWay",
                "a request with this Idempotency-Key is still being worked on; try again in a moment",
                headers={"Retry-After": "5"},
            )
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _renew(catalog: Catalog, held: Claim) -> None:
    while True:
        await asyncio.sleep(CLAIM_LASTS.total_seconds() / 4)
        with suppress(WaybillError):  # the database may be back before the claim lapses
            async with catalog.connection() as connection:
                await renew(connection, held)


async def _let_go(catalog: Catalog, held: Claim) -> None:
    async with catalog.connection() as connection:
        await release_claim(connection, held)
