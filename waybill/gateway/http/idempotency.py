"""`Idempotency-Key`: a client that lost the response sends the request again, and its work is done once.

Follows the draft of the IETF's HTTP API working group (draft-ietf-httpapi-idempotency-key-header): the same request
gets the same response, a different one with the same key 422, and one that arrives while the first is still processed
waits for its response for a while and then gets 409. Keys are separate for each caller and remembered for a day.
Responses that hold a secret are not stored, so their paths refuse the header.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import orjson
from fastapi import Depends, Header, Request
from pydantic import BaseModel, ValidationError

from blocks.access.idempotency import (
    CLAIM_LASTS,
    Answered,
    Claim,
    InProgress,
    claim,
    record_stored,
    release_claim,
    renew,
)
from blocks.catalog import Artifact, Catalog, Connection
from blocks.catalog.skipped_records import report_skipped
from blocks.errors import WaybillError
from blocks.runtime.background_tasks import running
from blocks.runtime.threads import to_its_end
from waybill.gateway.errors import RETRY_AFTER_SECONDS, HttpError

# The first request is most likely about to finish.
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.1

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A key of your choice. Requests repeated with it are processed once and get the same response.",
        examples=["order-4711"],
    ),
]


async def _refuse(request: Request) -> None:
    if "idempotency-key" in request.headers:
        raise HttpError(
            422,
            "IdempotencyKeyNotSupported",
            "this path does not support Idempotency-Key, because its response holds a secret, which is not stored",
        )


NoIdempotencyKey = Annotated[None, Depends(_refuse)]
"""For a route whose response is not stored: a request with the header is answered 422."""


def require_same(known: str | None, fingerprint: str) -> None:
    """Raise `HttpError` (422) unless *known*, the fingerprint of the first request, is also that of this request."""
    if known != fingerprint:
        raise HttpError(
            422,
            "IdempotencyKeyReused",
            "this Idempotency-Key was used with another request; use a new key for a new request",
        )


async def stored_answer(
    catalog: Catalog, answered: Answered, fingerprint: str, shape: type[BaseModel]
) -> dict[str, Any]:
    """Return the stored response, which has the fields of *shape*.

    Raises `HttpError`: 422 for another request, 409 for a stored response that cannot be read. The work of that request
    is done, so it is neither repeated nor answered with a guess.
    """
    if answered.fingerprint is not None:
        require_same(answered.fingerprint, fingerprint)
    try:
        shape.model_validate(answered.answer)
        orjson.dumps(answered.answer)  # it refuses what is too deep or too large to be sent
    except (ValidationError, TypeError, RecursionError) as exc:
        name = f"{answered.key_id} {answered.idempotency_key}"
        async with catalog.connection() as connection:
            await report_skipped(connection, "request", {name: f"its stored response is no {shape.__name__}"})
        raise HttpError(
            409,
            "StoredResponseUnreadable",
            "the request with this Idempotency-Key was processed, but its stored response cannot be read; look for its "
            "result in the lists, and use a new key only to have the work done again",
        ) from exc
    return dict(answered.answer)


async def note_stored(connection: Connection, held: Claim | None, fingerprint: str, artifact: Artifact) -> None:
    """Record with the claim, if there is one, that *artifact* is in custody. Raises `HttpError` (409) if it is lost."""
    if held is not None and not await record_stored(connection, held, fingerprint, artifact.file_id):
        # The claim has expired, because this request could not reach the database for too long.
        raise HttpError(
            409, "RequestTakenOver", "another request with this Idempotency-Key took over; send the request again"
        )


@asynccontextmanager
async def idempotent(
    catalog: Catalog, namespace: str, idempotency_key: str | None
) -> AsyncGenerator[Claim | Answered | None]:
    """Yield a `Claim` (do the work), `Answered` (replay the stored response), or None when no key was sent.

    A claim is held for the block, so that no other request does the same work. Unless the block stored a response, the
    next request may claim the key. Raises `HttpError` (409).
    """
    if idempotency_key is None:
        yield None
        return
    found = await _claim(catalog, namespace, idempotency_key)
    if isinstance(found, Answered):
        yield found
        return
    try:
        async with running(_renew(catalog, found)):
            yield found
    finally:
        with suppress(WaybillError):  # the claim then expires
            await to_its_end(_release(catalog, found))


async def _claim(catalog: Catalog, namespace: str, idempotency_key: str) -> Claim | Answered:
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        async with catalog.connection() as connection:
            found = await claim(connection, namespace, idempotency_key)
        is_late = time.monotonic() > until
        if isinstance(found, InProgress):
            if is_late:
                raise _under_way()
        elif is_late or isinstance(found, Claim) or not found.is_under_way:
            return found
        await asyncio.sleep(_POLL_SECONDS)


def _under_way() -> HttpError:
    return HttpError(
        409,
        "RequestUnderWay",
        "a request with this Idempotency-Key is still being processed; try again in a moment",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


async def _renew(catalog: Catalog, held: Claim) -> None:
    while True:
        await asyncio.sleep(CLAIM_LASTS.total_seconds() / 4)
        with suppress(WaybillError):  # the database may be back before the claim expires
            async with catalog.connection() as connection:
                await renew(connection, held)


async def _release(catalog: Catalog, held: Claim) -> None:
    async with catalog.connection() as connection:
        await release_claim(connection, held)
