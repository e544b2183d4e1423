"""Small requests of a transfer's client: report a file as received, and ask for a transfer's state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import httpx

from blocks.errors import GatewayUnavailable, TransferNotFound, TransferRefused
from blocks.hand_over.answers import is_temporary, pause_asked_seconds, refusal
from blocks.hand_over.connection import Session

_FAILURES = (httpx.TransportError,)
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 5.0
# The file is here and compared. Whether the gateway learns of it now is not worth waiting for long: it knows as well
# what it has sent.
_REPORT_SECONDS = 30.0


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
) -> httpx.Response:
    """Send a small request until it is answered, and return the answer. For requests that may be repeated.

    Raises `GatewayUnavailable`, and what a refusal stands for.
    """
    until, pause = time.monotonic() + patience_seconds, _FIRST_PAUSE_SECONDS
    while True:
        asked: float | None = None
        try:
            answer = await client.request(method, url, headers=dict(headers), json=json)
        except _FAILURES as exc:
            reason = str(exc) or type(exc).__name__
        else:
            if answer.is_success:
                return answer
            if not is_temporary(answer.status_code):
                raise refusal(answer.status_code, answer.content)
            reason = f"status {answer.status_code}"
            asked = pause_asked_seconds(answer.headers.get("Retry-After"), now=datetime.now(UTC))
        wait = asked if asked is not None else pause
        if time.monotonic() + wait > until:
            raise GatewayUnavailable(f"the gateway does not answer ({reason}); run the same again later to continue")
        await asyncio.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def json_of(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in *answer*. Raises `TransferRefused` for anything else."""
    try:
        found: Any = answer.json()
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TransferRefused("the answer is not a gateway's: is this the address of one?", status=answer.status_code)
    return cast("dict[str, Any]", found)


def address_of(url: str, name: str) -> str:
    """Return the address of a transfer's *name*, from that of its download or upload."""
    return f"{url.partition('?')[0].rpartition('/')[0]}/{name}"
