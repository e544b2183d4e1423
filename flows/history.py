"""trim-history: what has happened longer ago than the history is kept goes, from Prefect's database and from ours.

Each run goes on where the one before it was stopped. It notifies no consumer; its own runs go like all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, cast

import httpx
from prefect import State, flow, get_client, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.exceptions import PrefectException
from prefect.states import Completed, Failed
from pydantic import Field

from blocks.catalog import Catalog
from blocks.durations import format_duration, parse_duration
from blocks.history import Counted, Deadline, database_sizes, read_cutoffs, trim_rows
from blocks.history.runs import RunTrimmer
from blocks.history.statements import NAMES
from blocks.runs.home_id import home_id
from blocks.settings import Settings, current_settings
from flows.schedules import is_done_already, skipped

ARTIFACT_KEY = "trimmed-history"

# Ten thousand runs take some minutes. What is left after this goes the next night.
MAX_SECONDS = 20 * 60.0

# Why something old stays, as people are shown it.
REASONS = {
    "pending_delivery": "an event of it is not delivered yet",
    "not_read": "its end is not recorded yet: 'waybill up' or reconcile-events does that",
    "not_over": "it has not ended",
    "subflow_not_over": "a subflow run of it has not ended, or lately",
    "parent_not_over": "the run that it is a part of has not ended",
    "other_catalogue": "it belongs to another catalogue",
    "unreadable": "Prefect cannot read it",
    "recent_event": "its run had an event lately",
    "recent_delivery": "it was delivered or given up lately",
}

_Duration = Annotated[str | None, Field(pattern=r"^[0-9]{1,7}[smhd]$")]


@dataclass(kw_only=True)
class Trimmed:
    """What a call has done. *prefect*: ``trimmed``, or why Prefect's history was not."""

    dry_run: bool
    history: timedelta
    audit: timedelta
    counted: Counted = field(default_factory=Counted)
    prefect: str = "trimmed"
    failed: bool = False
    before: dict[str, int] = field(default_factory=dict[str, int])
    after: dict[str, int] = field(default_factory=dict[str, int])

    def as_json(self) -> dict[str, Any]:
        """Return all of it, by the names of tables; ``complete`` is false when the time was over before the work."""
        return {
            "dry_run": self.dry_run,
            "history": format_duration(self.history),
            "audit": format_duration(self.audit),
            "prefect": self.prefect,
            "removed": {what: count for what, count in self.counted.removed.most_common() if count},
            "kept": {what: dict(reasons.most_common()) for what, reasons in self.counted.kept.items()},
            "complete": self.counted.is_complete and not self.failed,
            "before": {"databases": self.before},
            "after": {"databases": self.after},
        }

    def rows(self) -> list[dict[str, str]]:
        """Return a table for people: what went and what stays, the largest groups first."""
        went = "would go" if self.dry_run else "removed"
        found = [(count, went, what, "") for what, count in self.counted.removed.items() if count]
        found += [
            (count, "kept", what, REASONS[reason])
            for what, reasons in self.counted.kept.items()
            for reason, count in reasons.items()
        ]
        found.sort(key=lambda row: (row[1] == "kept", -row[0]))
        return [
            {"what": NAMES.get(what, what), "outcome": outcome, "count": str(count), "why": why}
            for count, outcome, what, why in found
        ]

    def summary(self) -> str:
        """Return one sentence."""
        total = sum(self.counted.removed.values())
        verb = "would go" if self.dry_run else "removed"
        sizes = "; ".join(
            f"database {name}: {size / 1e6:,.1f} MB, was {self.before[name] / 1e6:,.1f} MB"
            for name, size in self.after.items()
            if name in self.before
        )
        left = "" if self.counted.is_complete else "; the time was over, the next run goes on"
        prefect = "" if self.prefect == "trimmed" else f"; Prefect's history stays: {self.prefect}"
        return f"{total:,} records {verb}{left}{prefect}; {sizes}"


@flow(name="trim-history", flow_run_name="trim history", persist_result=False)
async def trim_history(
    history: _Duration = None,
    audit: _Duration = None,
    dry_run: bool = False,
    max_seconds: Annotated[float, Field(gt=0, le=86400)] = MAX_SECONDS,
) -> State[dict[str, Any]]:
    """Remove what has happened longer ago than the history is kept: runs, events, deliveries, plans, audit entries.

    Never a run that is not over, and nothing before its events were delivered. Shows what went and what stays, and why.

    Args:
        history: How long runs and their records are kept, such as 7d; as the setting retention says when left out.
        audit: How long the audit log is kept, such as 365d; as the setting retention says when left out.
        dry_run: Count what would go; remove nothing.
        max_seconds: After this time the rest is left to the next run.
    """
    if await is_done_already():
        return skipped()
    trimmed = await trim(
        current_settings(), history=_period(history), audit=_period(audit), dry_run=dry_run, max_seconds=max_seconds
    )
    await _show(trimmed)
    ended = Failed if trimmed.failed else Completed
    return ended(message=trimmed.summary(), data=trimmed.as_json())


async def trim(
    settings: Settings,
    *,
    history: timedelta | None = None,
    audit: timedelta | None = None,
    dry_run: bool = False,
    max_seconds: float = MAX_SECONDS,
    prefect_missing: str | None = None,
) -> Trimmed:
    """Trim Prefect's history, then our own rows; also the latter when Prefect fails, and is then *failed*.

    *prefect_missing*: why there is no Prefect server; then only our rows go. Raises the errors of the catalogue; what
    was removed before stays removed, and the next call goes on.
    """
    trimmed = Trimmed(
        dry_run=dry_run,
        history=history or settings.retention.period("history"),
        audit=audit or settings.retention.period("audit"),
    )
    deadline = Deadline(max_seconds)
    async with Catalog.open(settings.required_database_url) as catalog:
        cutoffs = await read_cutoffs(catalog, history=trimmed.history, audit=trimmed.audit)
        trimmed.before = await database_sizes(catalog)
        # Runs first: while one is there, its events may be needed.
        if prefect_missing is not None:
            trimmed.prefect = prefect_missing
        else:
            try:
                async with get_client() as client:
                    await RunTrimmer(
                        client=client,
                        catalog=catalog,
                        cutoffs=cutoffs,
                        counted=trimmed.counted,
                        deadline=deadline,
                        dry_run=dry_run,
                        home=home_id(settings.home),
                    ).trim()
            except (httpx.HTTPError, PrefectException, ValueError) as error:
                trimmed.prefect, trimmed.failed = f"Prefect's server fails ({type(error).__name__})", True
        await trim_rows(catalog, cutoffs, trimmed.counted, deadline, dry_run=dry_run)
        trimmed.after = await database_sizes(catalog)
    return trimmed


def _period(text: str | None) -> timedelta | None:
    return parse_duration(text) if text is not None else None


async def _show(trimmed: Trimmed) -> None:
    """Leave a table in Prefect's UI. A failure is logged: it only shows what is done."""
    try:
        table = cast("list[dict[str, Any]]", trimmed.rows())
        await acreate_table_artifact(table=table, key=ARTIFACT_KEY, description=trimmed.summary())
    except (httpx.HTTPError, PrefectException, ValueError) as error:
        get_run_logger().warning("the table of what went cannot be shown: %s", error)
