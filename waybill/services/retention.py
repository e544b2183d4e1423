"""Whether a file is here, why it still is, when it goes and by which rule, or when it went."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from blocks.access import audit_entries
from blocks.catalog import Artifact, Catalog
from blocks.catalog.keeping import row_in_any_state
from blocks.catalog.outlook import Outlook
from blocks.custody import Custody
from blocks.settings import Settings

if TYPE_CHECKING:
    from blocks.retention import RetentionPolicy

_UNKNOWN = "there is no file with this id: it never existed, or it went so long ago that its record was removed too"
_STATES = {
    "pending": "it is being stored",
    "deleting": "it was removed, and its bytes are being deleted; the next clean-up finishes that",
}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All about one file's stay. *state* is ``available``, ``pending``, ``deleting``, ``deleted`` or ``unknown``.

    *expired*: its own time is over, although a rule may keep it; it is *readable* where a pin or a hold does, and
    *stored* until a clean-up removes it. *because* is the rule that decides as a sentence, and *changed_by* the
    command, setting or flag that changes it.
    """

    file_id: UUID
    state: str
    filename: str | None = None
    stored: bool = False
    readable: bool = False
    expired: bool = False
    created_at: datetime | None = None
    expires_at: datetime | None = None
    goes_at: datetime | None = None
    goes_because: str | None = None
    kept_because: str | None = None
    removed_at: datetime | None = None
    removed_because: str | None = None
    removed_by: str | None = None
    because: str
    changed_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return every field, times as text."""
        shown = {"file_id": str(self.file_id)}
        return asdict(self) | shown | {n: t.isoformat() for n, t in vars(self).items() if isinstance(t, datetime)}

    def lines(self) -> list[str]:
        """Return the explanation as lines for people; times are in UTC."""
        found = [f"{self.file_id}  {self.filename or ''}".rstrip()]
        if self.state == "deleted":
            return [*found, f"gone since {_minute(self.removed_at)}: {self.because}"]
        if self.state != "available":
            return [*found, self.because]
        readable = "and can be read" if self.readable else "and cannot be read any more"
        ends = "ended" if self.expired else "ends"
        found.append(f"is here, {readable}; its time {ends} {_minute(self.expires_at)}")
        if self.goes_because is None:
            found.append(f"stays, because {self.because} ({self.kept_because})")
        elif self.kept_because is None:
            found.append(f"goes with the next clean-up: {self.because} ({self.goes_because})")
        else:
            when = _minute(self.goes_at)
            found.append(f"goes with the first clean-up after {when}: {self.because} ({self.goes_because})")
        return [*found, f"what changes that: {self.changed_by}"]


async def outlook(catalog: Catalog, settings: Settings, artifact: Artifact) -> Outlook:
    """Return when a file goes and by which rule, without the size budget. Costs no statement where no rule is set.

    Raises `InvalidSettings` when the rules of the setting `retention` cannot be used.
    """
    if artifact.kept or not settings.retention.rules:
        return artifact.outlook()
    from blocks.retention.foresight import outlook_of

    async with catalog.connection() as connection:
        return await outlook_of(connection, _policy(settings), artifact.file_id) or artifact.outlook()


async def explain(custody: Custody, settings: Settings, file_id: UUID) -> Explanation:
    """Explain the stay of a file in any state, also of one that is gone or never was; with the size budget.

    Raises `InvalidSettings` when the rules of the setting `retention` cannot be used.
    """
    from blocks.retention.foresight import outlook_of, removed_now

    policy = _policy(settings)
    async with custody.catalog.transaction() as connection:
        row = await row_in_any_state(connection, file_id)
        if row is None:
            return Explanation(file_id=file_id, state="unknown", because=_UNKNOWN)
        names = ("file_id", "state", "filename", "created_at", "expires_at")
        known: dict[str, Any] = {name: row[name] for name in names}
        if row["state"] == "deleted":
            rule = row["removed_because"]
            entries = [] if rule else await audit_entries(connection, action="delete", file_id=file_id, limit=1)
            by = entries[0].actor if entries else None
            because = _past(rule) if rule else f"it was removed by {by or 'a command or request'}"
            gone: dict[str, Any] = {"removed_at": row["deleted_at"], "removed_because": rule, "removed_by": by}
            return Explanation(**known, **gone, because=because)
        if row["state"] != "available":
            rule = row["removed_because"] if row["state"] == "deleting" else None
            stored = row["state"] == "deleting"
            return Explanation(**known, stored=stored, removed_because=rule, because=_STATES[row["state"]])
        found = await removed_now(connection, policy, file_id) if policy.max_stored_bytes is not None else None
        found = found or await outlook_of(connection, policy, file_id) or Outlook(kept_because="not_due")
    return Explanation(
        **known, **vars(found), stored=True, readable=row["readable"], expired=row["expired"], because=found.sentence,
        changed_by=found.changed_by.replace(" ID", f" {file_id}"),
    )  # fmt: skip


def _policy(settings: Settings) -> RetentionPolicy:
    from blocks.retention import RetentionPolicy

    return RetentionPolicy.of(settings.retention.rules)


def _past(rule: str) -> str:
    from blocks.retention import REASONS

    return f"{REASONS.get(rule, 'a retention policy removed it')} ({rule})"


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment is not None else "at a time that is not recorded"
