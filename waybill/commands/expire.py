"""``waybill expire``: remove files by the retention policy, show what it would remove, and list its plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.durations import read_duration
from blocks.errors import InvalidOptions
from blocks.runtime.in_words import size
from waybill.commands.arguments import AsJson, check_ids, find_files, find_one, read_size, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice, progress_bar
from waybill.commands.session import with_catalog, with_custody
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.catalog import Catalog
    from blocks.custody import Custody
    from blocks.exports.expiry import ExpiredExport
    from blocks.retention import Plan
    from blocks.settings import Settings
    from blocks.transfers.expiry import ExpiredTransfer
    from tasks.expiry import Report
    from waybill.services.retention import Explanation

# People see the first of many files; --json has more.
_MAX_SHOWN = 20

_TIME = "90s, 15m, 24h, 30d"


KeepNewest = Annotated[
    int | None, typer.Option(metavar="N", min=0, help="Keep the newest N files of each source and stage.")
]
KeepSource = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN=TIME", help="Keep files of sources that match for that long: '*/law/*=365d'."),
]
MaxSize = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Remove the oldest files until this much is left: 10GB.")
]
MaxFiles = Annotated[
    int | None, typer.Option(metavar="N", min=1, max=1_000_000_000, help="Remove at most N files in this run.")
]
MaxShare = Annotated[
    float | None, typer.Option(metavar="SHARE", min=0, max=1, help="Remove at most this share of all: 0.5.")
]


def expire(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the plan and show it; remove nothing.")] = False,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN_ID", help="Execute exactly this plan of a dry run; 8 digits do.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Also remove files that are older than this: {_TIME}.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Only files of this kind: stage_output, upload, transfer or export."),
    ] = None,
    min_age: Annotated[str | None, typer.Option(metavar="TIME", help="Keep files that are younger than this.")] = None,
    keep_newest: KeepNewest = None,
    keep_source: KeepSource = None,
    keep_inputs: Annotated[bool, typer.Option("--keep-inputs", help="Keep what a kept file was made from.")] = False,
    max_size: MaxSize = None,
    max_files: MaxFiles = None,
    max_share: MaxShare = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="FILE_ID", help="Say why a file is still here and when it goes."),
    ] = None,
    list_plans: Annotated[bool, typer.Option("--list", help="List the newest plans and their state.")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove files whose time is over, and say what stays and why.

    Pins, legal holds and the rules of the setting 'retention' keep files; the options here come on top. The exit code
    is 1 when a file could not be removed, or when more had to go than one run may remove.
    """
    rules = {
        "older_than": read_duration("--older-than", older_than),
        "kinds": kind or None,
        "min_age": read_duration("--min-age", min_age),
        "keep_newest": keep_newest,
        "sources": _sources(keep_source or []) or None,
        "keep_inputs": keep_inputs or None,
        "max_stored_bytes": read_size("--max-size", max_size),
        "max_files": max_files,
        "max_share": max_share,
    }
    given = {name: value for name, value in rules.items() if value is not None}
    if explain is not None and (given or plan is not None or dry_run or list_plans):
        raise InvalidOptions("--explain goes by the setting retention; leave the other options out")
    if explain is not None:
        return _explain(explain, as_json)
    if list_plans and (given or plan is not None or dry_run):
        raise InvalidOptions("--list only lists plans; leave the other options out")
    if list_plans:
        return _list_plans(as_json)
    if plan is not None and given:
        raise InvalidOptions("--plan executes a plan as it was made; leave the options of a policy out, or --plan")
    return _run(given, dry_run=dry_run, plan_id=plan, as_json=as_json)


def _run(given: Mapping[str, Any], *, dry_run: bool, plan_id: str | None, as_json: bool) -> int:
    from blocks.settings import current_settings
    from tasks.expiry import retention_policy

    if plan_id is not None:
        check_ids([plan_id])
    retention_policy(current_settings(), given)  # what is wrong with it shows before anything is started

    kinds = given.get("kinds", ["export", "transfer"])

    async def work(custody: Custody, settings: Settings) -> tuple[Report, list[ExpiredExport], list[ExpiredTransfer]]:
        from blocks.exports.expiry import expire_exports, exports_to_go
        from blocks.transfers.expiry import expire_transfers, transfers_to_go
        from blocks.webhooks.event_links import EventLinks
        from tasks.expiry import run_retention
        from waybill.services.short_ids import find_plan

        wanted = await find_one(custody.catalog, find_plan, plan_id) if plan_id is not None else None
        with progress_bar("expire") as show:
            report = await run_retention(
                custody,
                retention_policy(settings, given),
                dry_run=dry_run,
                plan_id=wanted,
                by=this_account(),
                links=EventLinks.of(settings),
                on_progress=lambda done, total: show(100 * done / max(1, total), f"{done:,} of {total:,} files"),
            )
        exports: list[ExpiredExport] = []
        transfers: list[ExpiredTransfer] = []
        # A plan is executed as it is; transfers, and exports below the export storage path, are in none.
        if wanted is None and "export" in kinds:
            exports = await (exports_to_go(custody.catalog) if dry_run else expire_exports(custody, settings))
        if wanted is None and "transfer" in kinds:
            links = EventLinks.of(settings)
            transfers = await (transfers_to_go(custody.catalog) if dry_run else expire_transfers(custody, links))
        return report, exports, transfers

    report, exports, transfers = with_custody(work, reaches_storage=not dry_run)
    failed = [one for one in exports if one.error]
    if as_json:
        ended = {"exports": [one.as_json() for one in exports], "transfers": [one.as_json() for one in transfers]}
        print_json({**report.view(), **ended})
    else:
        _show(report)
        if len(exports) > len(failed):
            ended = len(exports) - len(failed)
            named = "1 export" if ended == 1 else f"{ended:,} exports"
            print_line(f"{named} {'would end' if dry_run else 'ended'}")
        if transfers:
            named = "1 transfer" if len(transfers) == 1 else f"{len(transfers):,} transfers"
            print_line(f"{named} {'would end' if dry_run else 'ended'}")
        for one in failed:
            print_notice(f"{one.job_id}: its file is still there: {one.error}")
    return 0 if report.is_complete and not failed else 1


def _sources(texts: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        pattern, equals, period = text.rpartition("=")
        if not equals or not pattern:
            raise InvalidOptions(
                f"--keep-source: write a pattern and a time, such as '*/contracts/*=365d', not {text!r}"
            )
        found[pattern] = read_duration("--keep-source", period)
    return found


def _show(report: Report) -> None:
    plan = report.plan
    print_table(
        ("what", "rule", "kind", "files", "bytes", "why"),
        [
            (
                _what(group.removes, dry_run=report.dry_run),
                group.rule,
                group.kind,
                f"{group.files:,}",
                size(group.bytes),
                reason,
            )
            for group, reason in _by_size(plan)
        ],
        numeric=("files", "bytes"),
        prose=("why",),
        spare=("rule",),
    )
    for one in report.failed[:_MAX_SHOWN]:
        print_notice(f"{one.file_id}: not deleted: {one.error}")
    if report.failed_files > _MAX_SHOWN:
        print_notice(f"and {report.failed_files - _MAX_SHOWN:,} more that could not be deleted")
    print_line(_totals(report))
    _show_next_step(report)


def _totals(report: Report) -> str:
    done = "would go" if report.dry_run else "removed"
    files = "1 file" if report.removed_files == 1 else f"{report.removed_files:,} files"
    parts = [f"{files} {done} ({size(report.removed_bytes)})"]
    if report.finished:
        parts.append(f"{report.finished:,} deletions of earlier runs finished")
    parts.append(f"{report.kept_files:,} stay")
    if report.renewed:
        parts.append(f"{report.renewed:,} of them kept past their time")
    if report.failed_files:
        parts.append(f"{report.failed_files:,} could not be deleted; the next run tries again")
    return "; ".join(parts)


def _show_next_step(report: Report) -> None:
    plan = report.plan
    if plan.over_cap:
        print_notice(
            f"stopped at the cap of one run: {plan.over_cap:,} more files would go; {report.lifted_by} lifts it, or "
            "run the same again"
        )
    if report.dry_run and plan.files:
        print_notice(f"nothing was removed; 'waybill expire --plan {plan.plan_id}' removes exactly these files")


def _what(removes: bool, *, dry_run: bool) -> str:
    return ("would go" if dry_run else "goes") if removes else "stays"


def _by_size(plan: Plan) -> list[tuple[Any, str]]:
    """Return the groups with their reasons: first what goes, the largest first."""
    from blocks.retention import REASONS

    groups = sorted(plan.groups, key=lambda group: (not group.removes, -group.files))
    return [(group, REASONS[group.rule]) for group in groups]


def _explain(file_id: str, as_json: bool) -> int:
    """Print why a file is here and when it goes, or when it went. Return 1 if there never was such a file."""
    check_ids([file_id])

    async def work(custody: Custody, settings: Settings) -> Explanation:
        from waybill.services.retention import explain

        (wanted,) = await find_files(custody, [file_id])
        return await explain(custody, settings, wanted)

    found = with_custody(work)
    if as_json:
        print_json(found.as_json())
    else:
        for line in found.lines():
            print_line(line)
    return 1 if found.state == "unknown" else 0


def _list_plans(as_json: bool) -> int:
    async def work(catalog: Catalog, _: Settings) -> list[Plan]:
        from blocks.retention import newest_plans

        async with catalog.connection() as connection:
            return await newest_plans(connection)

    plans = with_catalog(work)
    if as_json:
        from tasks.expiry import plan_view

        print_json({"plans": [plan_view(one) for one in plans]})
        return 0
    print_table(
        ("plan", "state", "made", "files", "bytes", "over cap"),
        [
            (
                str(one.plan_id),
                one.state,
                human_time(one.created_at.isoformat()),
                f"{one.files:,}",
                size(one.bytes),
                f"{one.over_cap:,}",
            )
            for one in plans
        ],
        numeric=("files", "bytes", "over cap"),
    )
    return 0
