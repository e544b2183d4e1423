"""Short-lived tokens, each for one scope and one subject; pure.

A token grants its bearer *scope* on *subject* until it expires. It is a JSON Web Token (RFC 7519) signed with
HMAC-SHA256 (`HS256`, RFC 7518 section 3.2) in the one form that `issue` writes: exactly these header fields, exactly
these claims, each of its one type. `check` refuses everything else, which leaves the author of a token no choice (RFC
8725 sections 3.1 to 3.3 and 3.8 to 3.12). PyJWT compares signatures in constant time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from blocks.durations import format_duration
from blocks.errors import InvalidOptions, LinkExpired, LinkInvalid
from blocks.runtime.clock import Clock, utc_now

DOWNLOAD = "download"
"""Scope: read the content of the file named by the subject."""

READ_EVENT = "read-event"
"""Scope: read the whole of the webhook event named by the subject."""

PAGE_SESSION = "page-session"
"""Scope: use the page as the API key that the subject names. Its audience is `PAGE`."""

PAGE = "waybill-page"
"""Audience of what a browser keeps for the page: no path of the API takes it."""

GATEWAY = "waybill-gateway"
"""Audience of tokens that any client may present to the gateway. Tokens for one worker name that worker instead."""

# The default lifetime of files. It bounds the damage of a leaked link, and how long old keys are kept.
MAX_LIFETIME = timedelta(days=30)
# Clocks synchronised by NTP differ by milliseconds; half a minute is generous to others.
MAX_LEEWAY = timedelta(seconds=30)
# Our tokens have about 350 characters; a longer text is refused before it is hashed.
MAX_TOKEN_CHARS = 2048

_ISSUER = "waybill"
_ALGORITHM = "HS256"
_TEXT_CLAIMS = ("iss", "aud", "sub", "scope")
_TIME_CLAIMS = ("iat", "exp")
_CLAIMS = {*_TEXT_CLAIMS, *_TIME_CLAIMS}
_HEADER = {"alg", "kid", "typ"}
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A secret of 32 bytes or more, and the id by which tokens name it. The `repr` leaves the secret out."""

    id: str
    secret: bytes = field(repr=False)
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Grant:
    """The permission in a token. Its times are whole seconds."""

    scope: str
    subject: str
    audience: str
    issued_at: datetime
    expires_at: datetime
    key_id: str


def audience_of_worker(name: str) -> str:
    """Return the audience of tokens that the worker *name* alone may present."""
    return f"worker:{name}"


def issue(
    *,
    key: SigningKey,
    scope: str,
    subject: str,
    expires_at: datetime,
    audience: str = GATEWAY,
    clock: Clock = utc_now,
) -> tuple[str, Grant]:
    """Return a token and its grant. It expires at *expires_at*, rounded down to a whole second.

    Raises `InvalidOptions` for a time that is not in the future, or further away than `MAX_LIFETIME`.
    """
    issued, end = math.floor(_timestamp(clock())), math.floor(_timestamp(expires_at))
    if end <= issued:
        raise InvalidOptions("a link must last for one second at least")
    if end - issued > MAX_LIFETIME.total_seconds():
        raise InvalidOptions(f"a link lasts for {format_duration(MAX_LIFETIME)} at most; request less")
    claims = {"iss": _ISSUER, "aud": audience, "sub": subject, "scope": scope, "iat": issued, "exp": end}
    token = jwt.encode(claims, key.secret, algorithm=_ALGORITHM, headers={"kid": key.id})
    return token, _grant(claims, key.id)


def check(
    token: str,
    *,
    keys: Mapping[str, SigningKey],
    scope: str,
    subject: str,
    audience: str = GATEWAY,
    leeway: timedelta = timedelta(0),
    clock: Clock = utc_now,
) -> Grant:
    """Return the grant of *token* if it allows *scope* on *subject* now. *keys* by id; *leeway* is added to its expiry.

    Raises `LinkInvalid` without a reason, so that an attacker who tries tokens learns nothing from the answers; and
    `LinkExpired`, but only for a token that was valid until it expired.
    """
    if not timedelta(0) <= leeway <= MAX_LEEWAY:
        raise InvalidOptions(f"a leeway is between 0 and {format_duration(MAX_LEEWAY)}, not {leeway}")
    now = _timestamp(clock())
    key_id, claims = _signed_claims(token, keys, audience)
    wanted = {"iss": _ISSUER, "aud": audience, "sub": subject, "scope": scope}
    lifetime = claims["exp"] - claims["iat"]
    if (
        any(claims[name] != value for name, value in wanted.items())
        or not 0 < lifetime <= MAX_LIFETIME.total_seconds()
        # Signed in the future, beyond the difference of two machines' clocks: it would last too long.
        or claims["iat"] > now + MAX_LEEWAY.total_seconds()
    ):
        raise _invalid()
    if now >= claims["exp"] + leeway.total_seconds():
        raise LinkExpired("this link has expired; request a new one")
    return _grant(claims, key_id)


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """What a token says of itself. Anyone can write one: it selects what to check the token against, and no more."""

    scope: str
    subject: str


def claimed(token: str) -> Claimed | None:
    """Return scope and subject that *token* claims, before any check; None for what cannot be a token of ours."""
    if len(token) > MAX_TOKEN_CHARS or _FORM.fullmatch(token) is None:
        return None
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, RecursionError):
        return None
    scope, subject = claims.get("scope"), claims.get("sub")
    return Claimed(scope=scope, subject=subject) if isinstance(scope, str) and isinstance(subject, str) else None


def _signed_claims(token: str, keys: Mapping[str, SigningKey], audience: str) -> tuple[str, dict[str, Any]]:
    """Return key id and claims of a token signed with one of *keys*, complete and each of its type."""
    if len(token) > MAX_TOKEN_CHARS or _FORM.fullmatch(token) is None:
        raise _invalid()
    try:
        header = jwt.get_unverified_header(token)
        key = keys.get(header["kid"]) if header.keys() == _HEADER and isinstance(header["kid"], str) else None
        if key is None or header["typ"] != "JWT":
            raise _invalid()
        claims: dict[str, Any] = jwt.decode(
            token,
            key.secret,
            algorithms=[_ALGORITHM],
            audience=audience,
            # `check` compares times, by its own clock.
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "strict_aud": True},
        )
    except jwt.PyJWTError as exc:
        raise _invalid() from exc
    whole = (
        claims.keys() == _CLAIMS
        and all(isinstance(claims[name], str) for name in _TEXT_CLAIMS)
        # Not isinstance: True is an int too.
        and all(type(claims[name]) is int for name in _TIME_CLAIMS)
    )
    if not whole:
        raise _invalid()
    return key.id, claims


def _grant(claims: Mapping[str, Any], key_id: str) -> Grant:
    return Grant(
        scope=claims["scope"],
        subject=claims["sub"],
        audience=claims["aud"],
        issued_at=datetime.fromtimestamp(claims["iat"], UTC),
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        key_id=key_id,
    )


def _timestamp(moment: datetime) -> float:
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return moment.timestamp()


def _invalid() -> LinkInvalid:
    return LinkInvalid(
        "this link is not valid: it was not signed here, was altered, was revoked, or is for another file or event; "
        "request a new one"
    )
