"""When a file goes and by which rule, or which rule keeps it, in words for programs and for people; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# By the rules of `blocks.retention.policy`.
KEPT: Mapping[str, str] = {
    "held": "a legal hold keeps it",
    "pinned": "a pin keeps it",
    "reading": "it is being read",
    "min_age": "it is younger than the minimum age of the policy",
    "source": "its source has a longer period in the policy",
    "newest": "it is among the newest files of its source and stage",
    "input": "a file that was made from it is kept",
    "not_due": "its time is not over",
}
GOES: Mapping[str, str] = {
    "expired": "its time is over then",
    "older_than": "it is older then than the policy allows",
    "budget": "the store is over its size budget, and it is among the oldest files",
}
GOES_NOW: Mapping[str, str] = {
    "expired": "its time is over",
    "older_than": "it is older than the policy allows",
    "budget": GOES["budget"],
}
CHANGED_BY: Mapping[str, str] = {
    "held": "waybill files release ID",
    "pinned": "waybill files unpin ID",
    "reading": "the end of the reading; the lease of a killed reader ends after five minutes",
    "min_age": "min_age in the setting retention, or --min-age",
    "source": "sources in the setting retention, or --keep-source",
    "newest": "keep_newest in the setting retention, or --keep-newest",
    "input": "keep_inputs in the setting retention, or --keep-inputs",
    "not_due": "waybill files extend ID --for 90d, also with --shorten, or waybill files pin ID",
    "expired": "waybill files extend ID --for 90d, also with --shorten, or waybill files pin ID",
    "older_than": "--older-than, or waybill files pin ID",
    "budget": "max_stored_bytes in the setting retention, --max-size, or waybill files pin ID",
}
"""The command, setting or flag that changes what a rule decides."""
# An expired file is not pinned any more.
_EXPIRED_NOW = "waybill files extend ID --for 90d, or waybill files hold ID"


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """When a file goes (None: no time is known) and by which rule, and the rule that keeps it now or from then on."""

    goes_at: datetime | None = None
    goes_because: str | None = None
    kept_because: str | None = None

    @property
    def sentence(self) -> str:
        """Return the rule that decides, as a sentence."""
        if self.goes_because is not None:
            return (GOES if self.kept_because is not None else GOES_NOW)[self.goes_because]
        return KEPT[self.kept_because or "not_due"]

    @property
    def changed_by(self) -> str:
        """Return what changes it: a command, a setting or a flag."""
        if self.goes_because == "expired" and self.kept_because is None:
            return _EXPIRED_NOW
        return CHANGED_BY[self.goes_because or self.kept_because or "not_due"]

    def as_json(self) -> dict[str, Any]:
        return {
            "goes_at": self.goes_at.isoformat() if self.goes_at else None,
            "goes_because": self.goes_because,
            "kept_because": self.kept_because,
            "because": self.sentence,
        }
