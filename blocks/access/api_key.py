"""API keys: their form, what they allow, and how one that is shown is compared with what is kept; pure.

A key is ``wb_``, the 12 hexadecimal digits of its id, ``_`` and 64 hexadecimal digits of secret. Only the SHA-256 of
the secret is kept: of 32 random bytes nobody finds the original, so a slow hash would slow down nobody but us. Its
form can be told from other text, so that a key in a log or a repository is found by scanners.
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

READ, WRITE, ADMIN = "read", "write", "admin"
SCOPES = (READ, WRITE, ADMIN)
"""`read` sees and downloads; `write` brings in, shares, pins and deletes; `admin` does all, and minds the webhooks."""

_FORM = re.compile(r"wb_([0-9a-f]{12})_([0-9a-f]{64})")
_ID_BYTES, _SECRET_BYTES = 6, 32
MAX_NAME_CHARS = 100


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What is known of a key. Its times are the database's."""

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
        """Whether the key has *scope*; `admin` has every one, and `write` does not imply `read`."""
        return scope in self.scopes or ADMIN in self.scopes

    def as_json(self) -> dict[str, Any]:
        """For lists; without anything that could be shown as the key."""
        times = ("created_at", "expires_at", "revoked_at", "last_used_at")
        return {
            "key_id": self.key_id,
            "name": self.name,
            "scopes": list(self.scopes),
            "requests_per_minute": self.requests_per_minute,
            **{name: moment.isoformat() if (moment := getattr(self, name)) else None for name in times},
            "usable": self.usable,
        }


@dataclass(frozen=True, kw_only=True)
class PresentedKey:
    """A key as somebody shows it."""

    key_id: str
    secret: str = field(repr=False)

    def is_of(self, key: ApiKey) -> bool:
        """Whether it is *key*; takes the same time wherever they differ."""
        return hmac.compare_digest(digest(self.secret), key.secret_sha256)


def generate_key() -> tuple[str, PresentedKey]:
    """A random key: its text, which is shown once, and its parts."""
    shown = PresentedKey(key_id=secrets.token_hex(_ID_BYTES), secret=secrets.token_hex(_SECRET_BYTES))
    return f"wb_{shown.key_id}_{shown.secret}", shown


def parse_key(text: str) -> PresentedKey | None:
    """The parts of *text*; None when it has not the form of a key, so that nothing need be looked up."""
    found = _FORM.fullmatch(text)
    return PresentedKey(key_id=found[1], secret=found[2]) if found else None


def digest(secret: str) -> bytes:
    """What is kept of a key's secret."""
    return hashlib.sha256(secret.encode()).digest()


def check_scopes(names: Sequence[str]) -> list[str]:
    """*names* without doubles, in the order of `SCOPES`. Raises `InvalidOptions`."""
    unknown = sorted(set(names) - set(SCOPES))
    if unknown or not names:
        raise InvalidOptions(f"no scopes are called {', '.join(unknown) or 'nothing'}; there are {', '.join(SCOPES)}")
    return [name for name in SCOPES if name in names]


def check_name(name: str) -> str:
    """*name* as it may be kept and shown. Raises `InvalidOptions`."""
    cleaned = name.strip()
    if not cleaned or len(cleaned) > MAX_NAME_CHARS or not cleaned.isprintable():
        raise InvalidOptions(f"a key's name has 1 to {MAX_NAME_CHARS} printable characters: who or what uses it")
    return cleaned
