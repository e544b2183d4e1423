"""Requests that are made once however often they are sent: what is kept under a client's `Idempotency-Key`.

Owns the claim: one process works on a request at a time, for as long as it renews, so that of two at once one does the
work, and what a killed process has begun is taken up by whoever sends it again. Every call takes the caller's
connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson

from blocks.access import queries
from blocks.catalog import Connection
from blocks.postgres import execute

# Renewed four times as often; a client that sends again after a gateway was killed waits no longer than this.
CLAIM_LASTS = timedelta(seconds=15)
# A client that tries again does so within minutes; a day is what others promise.
REMEMBERED = timedelta(days=1)

_RUNS = UUID("0b9c4f4e-6c0e-4a3e-9a54-0f3b6f0a5d11")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to do the work. With *file_id*, somebody before has stored the file and came no further."""

    key_id: str
    idempotency_key: str
    claim: UUID
    created_at: datetime
    fingerprint: str | None
    file_id: UUID | None

    @property
    def run_key(self) -> str:
        """By what Prefect knows the run of this request: the same for whoever goes on with it."""
        return f"waybill-{uuid5(_RUNS, f'{self.key_id} {self.idempotency_key} {self.created_at.isoformat()}')}"

    def as_values(self) -> dict[str, Any]:
        return {"key_id": self.key_id, "idempotency_key": self.idempotency_key, "claim": self.claim}


@dataclass(frozen=True, kw_only=True)
class Answered:
    """It was done: for a request with this *fingerprint* the answer was *answer*."""

    fingerprint: str
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class InProgress:
    """Another request with the same key is being worked on."""


async def claim(connection: Connection, key_id: str, idempotency_key: str) -> Claim | Answered | InProgress:
    """Begin a request, or learn what became of it. What is older than `REMEMBERED` is forgotten."""
    values = {
        "key_id": key_id,
        "idempotency_key": idempotency_key,
        "claim": uuid4(),
        "seconds": CLAIM_LASTS.total_seconds(),
        "remembered_seconds": REMEMBERED.total_seconds(),
    }
    await execute(connection, queries.FORGET_REQUESTS, values)
    row = await (await execute(connection, queries.CLAIM_REQUEST, values)).fetchone()
    if row is not None:
        return Claim(**row)
    row = await (await execute(connection, queries.ANSWERED_REQUEST, values)).fetchone()
    return Answered(**row) if row else InProgress()


async def renew(connection: Connection, claim: Claim) -> bool:
    """Keep the claim; False when it was lost meanwhile."""
    values = claim.as_values() | {"seconds": CLAIM_LASTS.total_seconds()}
    return (await execute(connection, queries.RENEW_REQUEST, values)).rowcount == 1


async def record_stored(connection: Connection, claim: Claim, fingerprint: str, file_id: UUID) -> bool:
    """The file is in custody: whoever goes on need not store it again. False when the claim was lost."""
    values = claim.as_values() | {"fingerprint": fingerprint, "file_id": file_id}
    return (await execute(connection, queries.NOTE_STORED, values)).rowcount == 1


async def record_answer(connection: Connection, claim: Claim, fingerprint: str, answer: Mapping[str, Any]) -> None:
    """It is done. From now on the same request gets *answer*."""
    values = claim.as_values() | {"fingerprint": fingerprint, "answer": orjson.dumps(dict(answer)).decode()}
    await execute(connection, queries.NOTE_ANSWER, values)


async def release_claim(connection: Connection, claim: Claim) -> None:
    """Not done: the next one may begin at once, from the file if it was stored."""
    await execute(connection, queries.LET_GO_REQUEST, claim.as_values())
    await execute(connection, queries.FORGET_UNDONE_REQUEST, claim.as_values())
