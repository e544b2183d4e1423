"""What is said of a document that was forgotten: how much went, what is not reached; pure. Without text or names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# What no command reaches. Said in every certificate, since its reader may have to act on it.
NOT_REACHED = (
    "backups that were made before: restore one, and forget the document again",
    "the write-ahead log of Postgres and copies of it: its segments are overwritten with time",
    "versions of objects, and deleted ones, that a bucket with versioning or its provider keeps",
    "what receivers of webhooks, holders of links and remote workers have been sent already",
    "the source itself, where it came from",
)


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """How a document was forgotten. *left*: rows that still have a name of it, by table, with what they are."""

    sha256: str
    began_at: datetime
    forgotten_at: datetime
    by: str
    counts: Mapping[str, int]
    prefect: Mapping[str, int]
    prefect_by: str
    rewritten: Sequence[str]
    not_rewritten: Mapping[str, str]
    exports: Sequence[str]
    left: Mapping[str, int]
    not_reached: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "sha256": self.sha256,
            "began_at": self.began_at.isoformat(),
            "forgotten_at": self.forgotten_at.isoformat(),
            "by": self.by,
            "removed": dict(self.counts),
            "prefect": {"by": self.prefect_by, "rows": dict(self.prefect)},
            "database_files": {"rewritten": list(self.rewritten), "not_rewritten": dict(self.not_rewritten)},
            "exports_that_may_have_it": list(self.exports),
            "left": dict(self.left),
            "not_reached": list(self.not_reached),
        }
