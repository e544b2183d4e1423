"""What a gateway's answers mean to its clients: wait and ask again, or a typed error; pure.

`refusal` is for requests with a transfer's token, whose senders are people with a link, and `response_error` for those
of an enrolled worker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from blocks import errors
from blocks.errors import (
    ContentMismatch,
    GatewayRefused,
    GatewayUnavailable,
    LinkExpired,
    LinkInvalid,
    TooLarge,
    TransferConflict,
    TransferNotFound,
    TransferOver,
    TransferRefused,
    WaybillError,
)
from blocks.retry_after import parse_retry_after

if TYPE_CHECKING:
    import httpx

# More of an error than any gateway writes; whatever answers in its place may send pages.
MAX_ERROR_BYTES = 64 * 1024
# Conditions that pass: too early, locked by the request before, too many requests. And all of 5xx.
_TEMPORARY = frozenset({408, 423, 425, 429})
# The token may be too old while the transfer is open; another one may be accepted.
TOKEN_REFUSED = frozenset({401, 410})
# A message of ours has a few hundred characters; what a proxy sends may be a whole page.
_MESSAGE_CHARS = 500
_NEW_LINK = "ask the sender for a new link"

_BY_CODE: Mapping[str, type[WaybillError]] = {
    kind.__name__: kind
    for kind in (ContentMismatch, LinkExpired, LinkInvalid, TooLarge, TransferConflict, TransferNotFound, TransferOver)
}
_BY_STATUS: Mapping[int, tuple[type[WaybillError], str]] = {
    401: (LinkInvalid, f"the gateway wants another token; {_NEW_LINK}"),
    403: (LinkInvalid, f"the link is not one that this gateway has signed for this transfer; {_NEW_LINK}"),
    404: (TransferNotFound, "the gateway knows no such transfer; compare the link with the one that was sent"),
    409: (TransferConflict, "what was sent does not fit what the gateway has"),
    410: (TransferOver, f"the link has expired or was used; {_NEW_LINK}"),
    413: (TooLarge, "the file is larger than the gateway takes"),
}


def is_temporary(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status in _TEMPORARY or status >= 500


def pause_asked_seconds(header: str | None, *, now: datetime) -> float | None:
    """Return how long the gateway asks to wait, None if it does not."""
    asked = parse_retry_after(header, now=now)
    return asked.total_seconds() if asked is not None else None


def refusal(status: int, body: bytes) -> WaybillError:
    """Return the error that an answer other than success stands for, by its code or else by its status."""
    code, message = _read_error(body)
    kind, advice = _BY_STATUS.get(status, (TransferRefused, f"the gateway answers with status {status}"))
    kind = _BY_CODE.get(code, kind)
    return kind(message or advice, status=status)


def response_error(response: httpx.Response) -> WaybillError:
    """Return the error of a *response* that has been read. Its attribute `status` is the HTTP status, `code` the code.

    `GatewayUnavailable` for 429 and 5xx; otherwise the error of `blocks.errors` that the code names, or
    `GatewayRefused`.
    """
    code, message = _read_error(response.content)
    message = message or response.reason_phrase or "no reason given"
    answered = f"the gateway answered {response.status_code}: {message}"
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS or response.is_server_error:
        return GatewayUnavailable(answered, status=response.status_code, code=code)
    kind = getattr(errors, code, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.Permanent)):
        return GatewayRefused(answered, status=response.status_code, code=code)
    return kind(message, status=response.status_code, code=code)


def transport_error(error: httpx.HTTPError, url: str) -> GatewayUnavailable:
    """Return the error for a request that got no response from the gateway at *url*, which holds no secret."""
    return GatewayUnavailable(
        f"the gateway at {url} did not answer ({type(error).__name__}); is this its address, and does it run?",
        status=None,
        code=None,
    )


def _read_error(body: bytes) -> tuple[str, str]:
    """Return code and message of a gateway's error; empty texts for anything else."""
    try:
        error: Any = json.loads(body[:MAX_ERROR_BYTES])["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "", ""
    if not isinstance(error, dict):
        return "", ""
    found = cast("dict[str, Any]", error)
    code, message = found.get("code"), found.get("message")
    return code if isinstance(code, str) else "", message[:_MESSAGE_CHARS] if isinstance(message, str) else ""
