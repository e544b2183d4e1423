"""Small requests of a transfer's client: report a file as received, and ask for a transfer's state."""

from __future__ import annotations

import asyncio
import json as json_format
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import httpx

from blocks.errors import GatewayUnavailable, TransferNotFound, TransferRefused
from blocks.hand_over.answers import is_temporary, pause_asked_seconds, refusal
from blocks.hand_over.connection import Session
from blocks.hand_over.patience import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS

_FAILURES = (httpx.TransportError, TimeoutError)
# Far more than a gateway answers here; what answers in its place may send without end.
_MOST_BYTES = 256 * 1024
# The file is here and compared. Whether the gateway learns of it now is not worth waiting for long: it knows as well
# what it has sent.
_REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """An answer, and as much of its body as a gateway sends."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def report_received(client: httpx.AsyncClient, session: Session, sha256: str, size: int) -> bool:
    """Report what has arrived, so that the transfer is over; return whether the gateway knows.

    A transfer that is over already, and a gateway that does not answer, are no errors. Raises `ContentMismatch` when
    the gateway knows another sha256.
    """
    try:
        await ask(
            client,
            "POST",
            address_of(session.url, "complete"),
            headers=session.headers(),
            json={"sha256": sha256, "size": size},
            patience_seconds=_REPORT_SECONDS,
        )
    except (GatewayUnavailable, TransferNotFound):
        return False
    return True


async def ask(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    patience_seconds: float,
    json: Mapping[str, Any] | None = None,
) -> Answer:
    """Send a small request until it is answered, and return the answer. For requests that may be repeated.

    Raises `GatewayUnavailable`, and what a refusal stands for.
    """
    until, pause = time.monotonic() + patience_seconds, FIRST_PAUSE_SECONDS
    while True:
        asked: float | None = None
        try:
            async with asyncio.timeout(max(LONGEST_PAUSE_SECONDS, until - time.monotonic())):
                answer = await _answer(client, method, url, headers, json)
        except _FAILURES as exc:
            reason = str(exc) or type(exc).__name__
        else:
            if 200 <= answer.status < 300:
                return answer
            if not is_temporary(answer.status):
                raise refusal(answer.status, answer.body)
            reason = f"status {answer.status}"
            asked = pause_asked_seconds(answer.headers.get("Retry-After"), now=datetime.now(UTC))
        wait = asked if asked is not None else pause
        if time.monotonic() + wait > until:
            raise GatewayUnavailable(f"the gateway does not answer ({reason}); run the same again later to continue")
        await asyncio.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


async def _answer(
    client: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str], json: Mapping[str, Any] | None
) -> Answer:
    # Not compressed, and not unpacked if it is: a few bytes may become gigabytes.
    given = {**headers, "Accept-Encoding": "identity"}
    body = bytearray()
    async with client.stream(method, url, headers=given, json=json) as answer:
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) >= _MOST_BYTES:
                break
    return Answer(answer.status_code, answer.headers, bytes(body))


def json_of(answer: Answer) -> dict[str, Any]:
    """Return the JSON object in *answer*. Raises `TransferRefused` for anything else."""
    try:
        found: Any = json_format.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TransferRefused("the answer is not a gateway's: is this the address of one?", status=answer.status)
    return cast("dict[str, Any]", found)


def address_of(url: str, name: str) -> str:
    """Return the address of a transfer's *name*, from that of its download or upload."""
    return f"{url.partition('?')[0].rpartition('/')[0]}/{name}"
