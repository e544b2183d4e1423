"""Why a sweep does not trust what it sees and removes nothing.

Storage and catalogue may not belong together, or another home may be storing in the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from blocks.custody.sweep_report import SweepReport
from blocks.durations import format_duration


@dataclass(kw_only=True)
class Doubt:
    """What a sweep has seen that makes it doubt. Complete only when the whole storage was listed.

    A home that stores in the same place with its own key adds files which no key here opens: one of them that is newer
    than *new_within* is in `new_other_key`. Older ones alone are of a home that is idle, or of a key that was given up.
    `newly_missing` counts available files without a blob, but for those that are marked as damaged.
    """

    report: SweepReport
    has_identity: bool
    new_within: timedelta
    may_be_missing: int = 0
    newly_missing: int = 0
    new_other_key: str | None = None

    def reason(self) -> str | None:
        """Return why nothing may be removed; None without a doubt."""
        available, without = self.report.rows.get("available", 0), self.newly_missing
        if available and not self.report.blobs:
            return (
                f"the storage lists no blob, and the catalogue has {available:,} files: the volume may not be mounted, "
                "or the storage URL may be wrong"
            )
        if without > self.may_be_missing:
            return (
                f"more than {self.may_be_missing:,} of {available:,} files have no blob in this storage: see that it "
                "is the right one"
            )
        if available and without >= available:
            return (
                f"none of the catalogue's {available:,} files has a blob in this storage: see that it is the right one"
            )
        return None if self.new_other_key is None else self._other_key(self.new_other_key)

    def _other_key(self, path: str) -> str:
        if not self.has_identity:
            return (
                f"this machine has no identity to open the manifest of a file without a row, {path}: sweep where the "
                "identity is"
            )
        return (
            f"a file without a row is encrypted for a key that is not here, {path}: another home may store in the same "
            "place, and what it is writing would be removed. Give each home a prefix of its own. If the key was given "
            f"up, the sweep goes on when sweeps have known all such files for {format_duration(self.new_within)}"
        )
