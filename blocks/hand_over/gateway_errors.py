"""What a gateway's error responses mean to its clients: one of our errors, by the code in the response."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import httpx

from blocks import errors
from blocks.errors import GatewayRefused, GatewayUnavailable, WaybillError

# The first seconds of an outage are the gateway's to bound; a day means that a proxy is set up wrongly.
_SECONDS = re.compile(r"[0-9]{1,5}")
_TOO_MANY_REQUESTS = 429
# A message of ours has a few hundred characters; what a proxy sends may be a whole page.
_MOST_CHARS = 500


def response_error(response: httpx.Response) -> WaybillError:
    """Return the error of a *response* that has been read. Its attribute `status` is the HTTP status, `code` the code.

    `GatewayUnavailable` for 429 and 5xx, with `retry_after_seconds` (or None); otherwise the error of `blocks.errors`
    that the code names, or `GatewayRefused`.
    """
    code, message = _described(response)
    if response.status_code == _TOO_MANY_REQUESTS or response.is_server_error:
        pause = response.headers.get("retry-after", "").strip()
        return GatewayUnavailable(
            f"the gateway answered {response.status_code}: {message}",
            status=response.status_code,
            code=code,
            retry_after_seconds=int(pause) if _SECONDS.fullmatch(pause) else None,
        )
    kind = getattr(errors, code, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.Permanent)):
        return GatewayRefused(
            f"the gateway answered {response.status_code}: {message}", status=response.status_code, code=code
        )
    return kind(message, status=response.status_code, code=code)


def transport_error(error: httpx.HTTPError, url: str) -> GatewayUnavailable:
    """Return the error for a request that got no response from the gateway at *url*, which holds no secret."""
    return GatewayUnavailable(
        f"the gateway at {url} did not answer ({type(error).__name__}); is this its address, and does it run?",
        status=None,
        code=None,
        retry_after_seconds=None,
    )


def _described(response: httpx.Response) -> tuple[str, str]:
    """Return code and message; of a response that is not the gateway's own, the reason phrase."""
    try:
        found = cast("dict[str, Any]", json.loads(response.content))["error"]
        code, message = found["code"], found["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", response.reason_phrase or "no reason given"
    if not isinstance(code, str) or not isinstance(message, str):
        return "", response.reason_phrase or "no reason given"
    return code, message[:_MOST_CHARS]
