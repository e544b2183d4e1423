"""Webhook signatures of Standard Webhooks, version 1; pure.

Implements "Signature scheme" of https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md:
HMAC-SHA256 over ``ID.TIMESTAMP.BODY``, in base64 after ``v1,``; several signatures are separated by spaces. Asymmetric
signatures (``v1a``) are ignored, as the specification asks.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from blocks.errors import InvalidKey, SignatureInvalid

ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
_VERSION = "v1,"

# As in every library of the specification: for clocks that differ and proxies that delay a request.
TOLERANCE_SECONDS = 5 * 60

# More than a sender has keys; a header with thousands of signatures must not cost a comparison each.
_MAX_SIGNATURES = 16
# Seconds since 1970; twelve digits reach beyond the year 5000.
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)


def sign(key: bytes, *, event_id: str, timestamp: int, body: bytes) -> str:
    """Return ``v1,`` and the signature of exactly these bytes; *timestamp* in seconds since 1970."""
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return _VERSION + base64.b64encode(digest).decode("ascii")


def signature_header(keys: Sequence[bytes], *, event_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``, with a signature by each key. Raises `InvalidKey` without keys."""
    if not keys:
        raise InvalidKey("there is no key to sign a webhook with")
    return " ".join(sign(key, event_id=event_id, timestamp=timestamp, body=body) for key in keys)


def verify(keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, *, now: float) -> None:
    """Raise `SignatureInvalid`, with the reason, unless one of *keys* signed *body* within the tolerance of *now*.

    The names in *headers* are in lower case; *now* is in seconds since 1970. Compares in constant time.
    """
    missing = [name for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if not headers.get(name)]
    if missing:
        raise SignatureInvalid(f"the header {', '.join(missing)} is missing")
    event_id, timestamp = headers[ID_HEADER], headers[TIMESTAMP_HEADER]
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureInvalid(f"the header {TIMESTAMP_HEADER} is not a number of seconds since 1970")
    # The signature before the time: a sender without the key learns nothing about this machine's clock.
    given = headers[SIGNATURE_HEADER].split(" ", _MAX_SIGNATURES)[:_MAX_SIGNATURES]
    if not any(_signed_by(key, given, event_id, int(timestamp), body) for key in keys):
        raise SignatureInvalid("no signature matches: signed with another secret, or changed in transit")
    if (age_seconds := now - int(timestamp)) > TOLERANCE_SECONDS:
        raise SignatureInvalid(f"signed {age_seconds:.0f} s ago, which is too long: it may be a replay")
    if -age_seconds > TOLERANCE_SECONDS:
        raise SignatureInvalid(f"signed {-age_seconds:.0f} s in the future: compare the clocks")


def _signed_by(key: bytes, given: Sequence[str], event_id: str, timestamp: int, body: bytes) -> bool:
    expected = sign(key, event_id=event_id, timestamp=timestamp, body=body).encode()
    # As bytes: compare_digest raises for text with other characters than ASCII.
    return any(hmac.compare_digest(expected, one.encode(errors="surrogateescape")) for one in given)
