"""``waybill sweep``: remove from the storage what no row of the catalogue knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import read_duration
from blocks.runtime.in_words import size
from waybill.commands.arguments import AsJson
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_custody

if TYPE_CHECKING:
    from blocks.custody import Custody
    from blocks.custody.sweep_report import Finding, Findings, SweepReport
    from blocks.settings import Settings

# People see the first of many; --json has more.
_MAX_SHOWN = 20


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be removed, change nothing.")] = False,
    min_age: Annotated[
        str, typer.Option(metavar="TIME", help="How long something must have been without a row: 90s, 15m, 1h, 7d.")
    ] = "1h",
    max_files: Annotated[int, typer.Option(min=0, max=1_000_000_000, help="Remove no more files than these.")] = 10_000,
    max_share: Annotated[
        float, typer.Option(min=0, max=1, help="Remove no more than this share of all stored files, or a hundred.")
    ] = 0.1,
    restorable: Annotated[
        bool, typer.Option("--restorable", help="Also remove files that 'waybill catalog rebuild' could restore.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Remove stored files that no row knows, and what dead processes have left.

    Something goes when two sweeps have seen it, the minimum age apart: the first one only records it. Nothing is
    removed when the storage or the catalogue looks wrong. Files whose bytes are gone are reported and marked as
    damaged. The exit code is 1 when something could not be removed, or the sweep was stopped.
    """
    age = read_duration("--min-age", min_age)

    async def work(custody: Custody, settings: Settings) -> SweepReport:
        from blocks.custody.sweep import SweepLimits
        from blocks.runs.sweep import sweep_home

        limits = SweepLimits(
            min_age=age,
            max_files=max_files,
            max_share=max_share,
            restorable=restorable,
            silent_for=settings.retention.period("failed"),
        )
        return await sweep_home(custody, settings, limits=limits, dry_run=dry_run)

    report = with_custody(work, reaches_storage=True)
    if as_json:
        print_json(report.view())
    else:
        _show(report)
    return 0 if report.is_complete else 1


def _show(report: SweepReport) -> None:
    removed = "to remove" if report.dry_run else "removed"
    for findings, said in (
        (report.removed, removed),
        (report.waiting, "waiting"),
        (report.untouched, "left alone"),
        (report.missing, "without bytes"),
        (report.failed, "failed"),
    ):
        _show_findings(findings, said)
    counts = (
        f"{report.removed.count:,} {removed} ({size(report.removed.bytes)})",
        f"{report.waiting.count:,} waiting",
        f"{report.untouched.count:,} left alone",
        f"{report.missing.count:,} files without bytes",
        f"{report.failed.count:,} failed",
    )
    print_line(f"{report.blobs:,} stored files: {', '.join(counts)}")
    if report.stopped is not None:
        print_notice(f"stopped: {report.stopped}")


def _show_findings(findings: Findings, said: str) -> None:
    for one in findings.first[:_MAX_SHOWN]:
        print_line(f"{said}: {one.what} {one.path}{_reason(one)}")
    if findings.count > _MAX_SHOWN:
        print_line(f"{said}: and {findings.count - _MAX_SHOWN:,} more")


def _reason(one: Finding) -> str:
    since = "" if one.first_seen_at is None else f", first seen {human_time(one.first_seen_at.isoformat())}"
    return f"{since}: {one.why}" if one.why else since
