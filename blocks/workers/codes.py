"""One-time codes that enrol a worker: how they look and what is stored of them; pure.

A code is ``wbw_`` and 40 hexadecimal digits. Only its SHA-256 is stored: 20 random bytes cannot be guessed from it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from blocks.durations import format_duration
from blocks.errors import InvalidOptions
from blocks.json_cleaning import json_value

DEFAULT_LIFETIME = timedelta(hours=1)
# A code is for a person who sets a machine up now, or after the weekend.
MAX_LIFETIME = timedelta(days=7)

_FORM = re.compile(r"wbw_[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class EnrolmentCode:
    """A new code. Its text is available only now."""

    text: str = field(repr=False)
    name: str | None
    labels: tuple[str, ...]
    created_at: datetime
    expires_at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return all fields, with the code itself."""
        return {
            "code": self.text,
            "name": self.name,
            "labels": list(self.labels),
            "expires_at": json_value(self.expires_at),
        }


def new_code() -> str:
    """Return a random code."""
    return f"wbw_{secrets.token_hex(20)}"


def is_code(text: str) -> bool:
    """Return whether *text* has the form of a code, which saves a query for anything else."""
    return _FORM.fullmatch(text) is not None


def code_digest(text: str) -> bytes:
    """Return the hash that is stored of a code."""
    return hashlib.sha256(text.encode()).digest()


def check_code_lifetime(lifetime: timedelta) -> timedelta:
    """Return *lifetime*. Raises `InvalidOptions` unless a code may last as long."""
    if not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise InvalidOptions(f"an enrolment code lasts for {format_duration(MAX_LIFETIME)} at most")
    return lifetime
