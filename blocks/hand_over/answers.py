"""What a gateway's answer to a request of a transfer means: wait and ask again, or a typed error; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from blocks.errors import (
    ContentMismatch,
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

# More of an error than any gateway writes; whatever answers in its place may send pages.
MAX_ERROR_BYTES = 64 * 1024
# Conditions that pass: too early, locked by the request before, too many requests. And all of 5xx.
_TEMPORARY = frozenset({408, 423, 425, 429})
# The token may be too old while the transfer is open; another one may be accepted.
TOKEN_REFUSED = frozenset({401, 410})
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


def _read_error(body: bytes) -> tuple[str, str]:
    """Return code and message of a gateway's error; empty texts for anything else."""
    try:
        error: Any = json.loads(body[:MAX_ERROR_BYTES])["error"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "", ""
    if not isinstance(error, dict):
        return "", ""
    found = cast("dict[str, Any]", error)
    return str(found.get("code", "")), str(found.get("message", ""))[:_MESSAGE_CHARS]
