"""API keys: their format, their scopes, and the comparison of a presented key with the stored hash; pure.

A key is ``wb_``, the 12 hexadecimal digits of its id, ``_`` and 64 hexadecimal digits of secret. Only the SHA-256 of
the secret is stored: 32 random bytes cannot be guessed from it, so a slow hash would slow down only the gateway. The
format is distinctive, so that secret scanners find a key in a log or a repository.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from blocks.errors import InvalidOptions
from blocks.json_cleaning import json_value

READ, WRITE, ADMIN = "read", "write", "admin"
SCOPES = (READ, WRITE, ADMIN)
"""`read` lists and downloads; `write` uploads, shares, pins and deletes; `admin` does all, and manages webhooks."""

_FORM = re.compile(r"wb_([0-9a-f]{12})_([0-9a-f]{64})")
_ID_BYTES, _SECRET_BYTES = 6, 32
MAX_NAME_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A stored API key. Its times are the database's."""

    key_id: str
    name: str
    secret_sha256: bytes = field(repr=False)
    scopes: tuple[str, ...]
    requests_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    usable: bool
    """Neither revoked nor expired, by the database's clock."""

    def allows(self, scope: str) -> bool:
        """Return whether the key has *scope*; `admin` has every one, and `write` does not imply `read`."""
        return scope in self.scopes or ADMIN in self.scopes

    def as_json(self) -> dict[str, Any]:
        """Return the fields for listings, without the hash."""
        times = ("created_at", "expires_at", "revoked_at", "last_used_at")
        return {
            "key_id": self.key_id,
            "name": self.name,
            "scopes": list(self.scopes),
            "requests_per_minute": self.requests_per_minute,
            **{name: json_value(getattr(self, name)) for name in times},
            "usable": self.usable,
        }


@dataclass(frozen=True, kw_only=True)
class PresentedKey:
    """An API key as a client presents it."""

    key_id: str
    secret: str = field(repr=False)

    def is_of(self, key: ApiKey) -> bool:
        """Return whether this is *key*, in constant time."""
        return hmac.compare_digest(digest(self.secret), key.secret_sha256)


def generate_key() -> tuple[str, PresentedKey]:
    """Return a random key: its text, which is shown once, and its parts."""
    parts = PresentedKey(key_id=secrets.token_hex(_ID_BYTES), secret=secrets.token_hex(_SECRET_BYTES))
    return f"wb_{parts.key_id}_{parts.secret}", parts


def parse_key(text: str) -> PresentedKey | None:
    """Return the parts of *text*; None when it does not have the format of a key, which saves a query."""
    found = _FORM.fullmatch(text)
    return PresentedKey(key_id=found[1], secret=found[2]) if found else None


def digest(secret: str) -> bytes:
    """Return the hash that is stored of a key's secret."""
    return hashlib.sha256(secret.encode()).digest()


def check_scopes(names: Sequence[str]) -> list[str]:
    """Return *names* without duplicates, in the order of `SCOPES`. Raises `InvalidOptions`."""
    unknown = sorted(set(names) - set(SCOPES))
    if unknown or not names:
        shown = ", ".join(name or "(empty)" for name in unknown)
        problem = f"unknown scopes: {shown}" if unknown else "no scopes were given"
        raise InvalidOptions(f"{problem}; there are {', '.join(SCOPES)}")
    return [name for name in SCOPES if name in names]


def check_name(name: str) -> str:
    """Return *name* without surrounding blanks. Raises `InvalidOptions` when it is empty, too long or not printable."""
    cleaned = name.strip()
    if not cleaned or len(cleaned) > MAX_NAME_CHARS or not cleaned.isprintable():
        raise InvalidOptions(f"the name of an API key has 1 to {MAX_NAME_CHARS} printable characters; name its user")
    return cleaned
