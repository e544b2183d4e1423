"""trim-history: what has happened longer ago than the history is kept goes, from Prefect's database and from ours.

Each run goes on where the one before it was stopped. It notifies no consumer; its own runs go like all others.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from blocks.durations import DURATION_PATTERN, format_duration, read_duration
from blocks.history import Counted, Deadline, database_sizes, read_cutoffs, trim_rows
from blocks.history.runs import ARTIFACTS, RUNS, RunTrimmer
from blocks.history.statements import NAMES
from blocks.runs.home_id import home_id
from blocks.runs.prefect_api import prefect_problem
from blocks.runtime.form_schema import LeftOut, shown_as
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

_Duration = Annotated[str, Field(title="A period", pattern=DURATION_PATTERN)]


@dataclass(kw_only=True)
class Trimmed:
    """What a call has done. *prefect_problem*: why Prefect's history, or the rest of it, was not trimmed."""

    dry_run: bool
    history: timedelta
    audit: timedelta
    counted: Counted = field(default_factory=Counted)
    prefect_problem: str | None = None
    before: dict[str, int] = field(default_factory=dict[str, int])
    after: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do: the time sufficed, and Prefect did its part."""
        return self.counted.is_complete and self.prefect_problem is None

    def as_json(self) -> dict[str, Any]:
        """Return all of it, by the names of tables."""
        return {
            "dry_run": self.dry_run,
            "history": format_duration(self.history),
            "audit": format_duration(self.audit),
            "prefect": self.prefect_problem or ("counted" if self.dry_run else "trimmed"),
            "removed": {what: count for what, count in self.counted.removed.most_common() if count},
            "kept": {what: dict(reasons.most_common()) for what, reasons in self.counted.kept.items()},
            "complete": self.is_complete,
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

    def outcome(self) -> str:
        """Return one sentence about what was done, or would be."""
        removed = [(what, count) for what, count in self.counted.removed.most_common() if count]
        total = sum(count for _, count in removed)
        if self.dry_run:
            named = ", ".join(f"{count:,} {NAMES.get(what, what)}" for what, count in removed)
            parts = [f"{total:,} records would go{f': {named}' if named else ''}"]
        else:
            parts = [f"{total:,} records removed", *self._sizes()]
        if not self.counted.is_complete:
            parts.insert(1, "the time was over, the next run goes on")
        return "; ".join(parts)

    def summary(self) -> str:
        """Return the same, with what was not done."""
        return f"{self.outcome()}; {self.problem()}" if self.prefect_problem is not None else self.outcome()

    def problem(self) -> str:
        """Return the sentence about what Prefect kept from being done."""
        verb = "counted" if self.dry_run else "trimmed"
        whole = " to its end" if any(self.counted.removed[what] for what in (RUNS, ARTIFACTS)) else ""
        return f"Prefect's history was not {verb}{whole}, only that of the catalogue: {self.prefect_problem}"

    def _sizes(self) -> Iterator[str]:
        for name, size in self.after.items():
            after, before = f"{size / 1e6:,.1f} MB", f"{self.before.get(name, size) / 1e6:,.1f} MB"
            yield f"database {name}: {after}" + (f", was {before}" if before != after else "")


@flow(name="trim-history", flow_run_name="trim history", persist_result=False)
async def trim_history(
    history: Annotated[_Duration | LeftOut, shown_as("History")] = None,
    audit: Annotated[_Duration | LeftOut, shown_as("Audit log")] = None,
    dry_run: Annotated[bool, shown_as("Dry run")] = False,
    max_seconds: Annotated[float, Field(gt=0, le=86400), shown_as("Time limit in seconds")] = MAX_SECONDS,
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
        current_settings(),
        history=read_duration("history", history),
        audit=read_duration("audit", audit),
        dry_run=dry_run,
        max_seconds=max_seconds,
    )
    await _show(trimmed)
    ended = Completed if trimmed.prefect_problem is None else Failed
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
    """Trim Prefect's history, then our own rows; also the latter when Prefect fails, which `prefect_problem` then says.

    *prefect_missing*: why no Prefect server can be used; then only our rows go. Raises the errors of the catalogue;
    what was removed before stays removed, and the next call goes on.
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
            trimmed.prefect_problem = prefect_missing
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
                trimmed.prefect_problem = prefect_problem(error)
        await trim_rows(catalog, cutoffs, trimmed.counted, deadline, dry_run=dry_run)
        trimmed.after = await database_sizes(catalog)
    return trimmed


async def _show(trimmed: Trimmed) -> None:
    """Leave a table in Prefect's UI. A failure is logged: it only shows what is done."""
    try:
        table = cast("list[dict[str, Any]]", trimmed.rows())
        await acreate_table_artifact(table=table, key=ARTIFACT_KEY, description=trimmed.summary())
    except (httpx.HTTPError, PrefectException, ValueError) as error:
        get_run_logger().warning("the table of what went cannot be shown: %s", error)
