"""``waybill trim``: remove what has happened longer ago than the history is kept."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import read_duration
from blocks.errors import StackUnavailable
from waybill.commands.arguments import AsJson
from waybill.commands.output import print_json, print_line, print_notice
from waybill.commands.session import stack_session
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from datetime import timedelta

    from blocks.settings import Settings
    from flows.history import Trimmed


def trim(
    history: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long history is kept: 90s, 15m, 1h, 7d.")
    ] = None,
    audit: Annotated[
        str | None, typer.Option(metavar="TIME", help="How long the audit log is kept, such as 365d.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go, remove nothing.")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove old history: runs, events, deliveries, records of deleted files.

    Never a run that is not over, and nothing before its events were delivered. By default what the setting retention
    says: 7 days, and a year for the audit log. 'waybill up' does this every night. The exit code is 1 when something
    is left to do: also when Prefect's server cannot be used, and only the catalogue was trimmed.

    Examples: waybill trim --dry-run / waybill trim --history 30d
    """
    periods = read_duration("--history", history), read_duration("--audit", audit)
    with ExitStack() as until_done:
        missing = None
        try:
            settings, _ = until_done.enter_context(stack_session(prefect=True))
        except StackUnavailable as error:
            missing = error.message
            settings, _ = until_done.enter_context(stack_session(prefect=False))
        trimmed = asyncio.run(_trim(settings, *periods, dry_run=dry_run, prefect_missing=missing))
    if as_json:
        print_json(trimmed.as_json())
    else:
        _show(trimmed)
    if trimmed.prefect_problem is not None:
        print_notice(f"waybill: {trimmed.problem()}")
    return 0 if trimmed.is_complete else 1


async def _trim(
    settings: Settings,
    history: timedelta | None,
    audit: timedelta | None,
    *,
    dry_run: bool,
    prefect_missing: str | None,
) -> Trimmed:
    from flows.history import trim as trim_history

    return await trim_history(settings, history=history, audit=audit, dry_run=dry_run, prefect_missing=prefect_missing)


def _show(trimmed: Trimmed) -> None:
    rows = trimmed.rows()
    if rows:
        columns = ("what", "outcome", "count", "why")
        print_table(columns, [tuple(row[name] for name in columns) for row in rows], numeric=("count",), prose=("why",))
    print_line(trimmed.outcome())
