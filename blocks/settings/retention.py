"""The setting `retention`: periods by name, and the rules of the retention policy.

Owns the names and the durations. The values of rules are checked where the policy is made (`blocks.retention`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from blocks.durations import LONGEST_PERIOD, parse_duration
from blocks.errors import InvalidOptions
from blocks.settings.parsing import Unusable, json_object

PERIODS: Mapping[str, timedelta] = MappingProxyType(
    {
        "stage_output": timedelta(days=30),
        "upload": timedelta(days=30),
        # An export is made again in seconds, and is an extract that has left the rules of its sources.
        "export": timedelta(hours=24),
        "transfer": timedelta(hours=1),
        # What failed or was abandoned half-way: long enough to look at, useless afterwards.
        "failed": timedelta(hours=1),
        "history": timedelta(days=7),
        "audit": timedelta(days=365),
    }
)
RULES = (
    "min_age", "keep_newest", "sources", "keep_inputs", "max_stored_bytes", "max_files", "max_share", "search_index",
)  # fmt: skip


@dataclass(frozen=True)
class Retention:
    """How long things are kept, by name, and the *rules* that `RetentionPolicy` takes."""

    periods: Mapping[str, timedelta] = field(default_factory=dict[str, timedelta])
    rules: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def period(self, name: str) -> timedelta:
        """Return the period of a kind of file, or of ``failed``, ``history`` or ``audit``."""
        return self.periods.get(name) or PERIODS[name]

    def with_days(self, days: int) -> Retention:
        """Return the same with *days* for uploads and stage outputs, unless they have periods of their own."""
        ours = dict.fromkeys(("stage_output", "upload"), timedelta(days=days))
        return Retention({**ours, **self.periods}, self.rules)


def retention(value: object) -> Retention:
    """Return the setting, given as a table or as its JSON text. Raises `Unusable`."""
    if isinstance(value, Retention):
        return value
    given = json_object(value)
    known = (*PERIODS, *RULES)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise Unusable(f"it has no key {name[:40]!r}; {hint}")
    periods = {name: _period(name, one) for name, one in given.items() if name in PERIODS}
    return Retention(periods, {name: one for name, one in given.items() if name in RULES})


def _period(name: str, value: object) -> timedelta:
    try:
        # No bare number: next to `retention_days` a person means days by it, and as seconds it empties the store.
        found = parse_duration(value if isinstance(value, str) else "")
    except InvalidOptions:
        raise Unusable(f"write the period of {name} as a number and a unit, such as 90s, 15m, 24h or 30d") from None
    if found > LONGEST_PERIOD:
        raise Unusable(f"the period of {name} is at most {LONGEST_PERIOD.days:,} days")
    return found
