"""What a sweep has found and done: counts and bytes of everything, and the first of each kind by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

# People and Prefect's UI see the first; a storage that is not ours may have a million.
_LISTED = 100


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing: its path, what it is, why it stays or could not be removed, and since when sweeps have seen it."""

    path: str
    what: str
    bytes: int = 0
    why: str | None = None
    first_seen_at: datetime | None = None

    def because(self, why: str) -> Finding:
        """Return the same with a reason."""
        return replace(self, why=why)

    def view(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        seen = None if self.first_seen_at is None else self.first_seen_at.isoformat()
        return {**vars(self), "first_seen_at": seen}


@dataclass(kw_only=True)
class Findings:
    """Any number of findings in constant memory: all are counted, and the first are listed."""

    count: int = 0
    bytes: int = 0
    by_what: dict[str, int] = field(default_factory=dict[str, int])
    first: list[Finding] = field(default_factory=list[Finding])

    def add(self, finding: Finding) -> None:
        """Count *finding*, and list it while there is room."""
        self.count += 1
        self.bytes += finding.bytes
        self.by_what[finding.what] = self.by_what.get(finding.what, 0) + 1
        if len(self.first) < _LISTED:
            self.first.append(finding)

    def view(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        counts = {"count": self.count, "bytes": self.bytes, "by_what": dict(sorted(self.by_what.items()))}
        return {**counts, "first": [one.view() for one in self.first]}


@dataclass(kw_only=True)
class SweepReport:
    """The outcome of a sweep. With *dry_run*, `removed` is what a real one would remove now.

    `stopped` says why nothing, or nothing more, was removed; `over_cap` counts what the cap of one run has left for the
    next. `missing` are files whose bytes are gone; they are marked as damaged.
    """

    dry_run: bool
    blobs: int = 0
    manifests: int = 0
    stored_bytes: int = 0
    rows: Mapping[str, int] = field(default_factory=dict[str, int])
    removed: Findings = field(default_factory=Findings)
    waiting: Findings = field(default_factory=Findings)
    untouched: Findings = field(default_factory=Findings)
    missing: Findings = field(default_factory=Findings)
    failed: Findings = field(default_factory=Findings)
    over_cap: int = 0
    stopped: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether everything that is due was removed."""
        return self.stopped is None and not self.failed.count

    def view(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        plain = {name: value.view() if isinstance(value, Findings) else value for name, value in vars(self).items()}
        return {**plain, "rows": dict(sorted(self.rows.items()))}
