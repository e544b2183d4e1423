"""Idempotent requests: the state of a request with an `Idempotency-Key`, and its stored response.

Owns the claim: one gateway process works on a request at a time, for as long as it renews the claim. Of two concurrent
requests one does the work, and a request that a killed process has begun is resumed when the client sends it again.
Every call takes the caller's connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson

from blocks.access import queries
from blocks.postgres import Connection, execute, fetch_optional

# Renewed four times as often. A client that sends again after a gateway was killed waits no longer than this.
CLAIM_LASTS = timedelta(seconds=15)
# Clients retry within minutes; other APIs also keep responses for a day.
REMEMBERED = timedelta(days=1)

_RUNS = UUID("0b9c4f4e-6c0e-4a3e-9a54-0f3b6f0a5d11")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to do the work. With *file_id*, an earlier process has stored the file and got no further."""

    key_id: str
    idempotency_key: str
    claim: UUID
    created_at: datetime
    fingerprint: str | None
    file_id: UUID | None

    @property
    def run_key(self) -> str:
        """Prefect idempotency key of this request's run; the same when another process resumes it."""
        return f"waybill-{uuid5(_RUNS, f'{self.key_id} {self.idempotency_key} {self.created_at.isoformat()}')}"

    def as_values(self) -> dict[str, Any]:
        return {"key_id": self.key_id, "idempotency_key": self.idempotency_key, "claim": self.claim}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """The request is done: with this *fingerprint*, and *answer* as its response, which may be damaged.

    While it *is_under_way*, what comes of the recorded work is not known yet.
    """

    key_id: str
    idempotency_key: str
    fingerprint: str | None
    answer: Any
    is_under_way: bool = False


@dataclass(frozen=True)
class InProgress:
    """Another request with the same key is in progress."""


async def claim(connection: Connection, key_id: str, idempotency_key: str) -> Claim | Answered | InProgress:
    """Begin a request, or return its state. Requests older than `REMEMBERED` are deleted."""
    values = {
        "key_id": key_id,
        "idempotency_key": idempotency_key,
        "claim": uuid4(),
        "seconds": CLAIM_LASTS.total_seconds(),
        "remembered_seconds": REMEMBERED.total_seconds(),
    }
    await execute(connection, queries.FORGET_REQUESTS, values)
    row = await fetch_optional(connection, queries.CLAIM_REQUEST, values)
    if row is not None:
        return Claim(**row)
    row = await fetch_optional(connection, queries.ANSWERED_REQUEST, values)
    return Answered(**row) if row else InProgress()


async def renew(connection: Connection, claim: Claim) -> bool:
    """Extend the claim by `CLAIM_LASTS`; return False when it was lost."""
    values = claim.as_values() | {"seconds": CLAIM_LASTS.total_seconds()}
    return (await execute(connection, queries.RENEW_REQUEST, values)).rowcount == 1


async def record_stored(connection: Connection, claim: Claim, fingerprint: str, file_id: UUID) -> bool:
    """Record that the file is in custody, so that a resumed request does not store it again. False: claim lost."""
    values = claim.as_values() | {"fingerprint": fingerprint, "file_id": file_id}
    return (await execute(connection, queries.RECORD_STORED, values)).rowcount == 1


async def record_answer(connection: Connection, claim: Claim, fingerprint: str, answer: Mapping[str, Any]) -> None:
    """Record that the request is done: from now on the same request gets *answer*."""
    values = claim.as_values() | {"fingerprint": fingerprint, "answer": orjson.dumps(dict(answer)).decode()}
    await execute(connection, queries.RECORD_ANSWER, values)


async def release_claim(connection: Connection, claim: Claim) -> None:
    """Give up the claim: the next request may begin immediately, with the file if it was stored."""
    await execute(connection, queries.RELEASE_REQUEST, claim.as_values())
    await execute(connection, queries.FORGET_UNDONE_REQUEST, claim.as_values())
