"""expire-artifacts: remove files whose time is over, by the retention policy, and show what went and what stayed.

Three deployments: every night all kinds, with a sweep of the storage; every hour exports and what failed work has left;
every five minutes transfers. Any number of runs may meet: each file goes once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, cast
from uuid import UUID

from prefect import State, flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.runtime import deployment, flow_run
from prefect.states import Completed, Failed
from pydantic import Field, WithJsonSchema

from blocks.access import Actor
from blocks.catalog import Kind
from blocks.custody import Custody
from blocks.custody.abandoned import remove_abandoned
from blocks.custody.sweep_report import SweepReport
from blocks.errors import WaybillError
from blocks.exports.expiry import expire_exports
from blocks.links import Links
from blocks.open_custody import open_block_custody
from blocks.retention import RetentionPolicy
from blocks.runs.sweep import sweep_home
from blocks.runtime.form_schema import LeftOut, shown_as
from blocks.settings import Settings, current_settings
from blocks.transfers.expiry import expire_transfers
from blocks.webhooks.event_links import EventLinks
from flows.expiry.tables import outcome, report_table, statistics_page, sweep_outcome
from flows.schedules import is_done_already, skipped
from tasks.expiry import Report, retention_policy, run_retention

# Of ten thousand files a hundred may fail and be tried again by the next run, before a person has to look.
_MAX_FAILED_SHARE = 0.01

_Kinds = Annotated[list[Kind], Field(title="These kinds")]
# Prefect checks no format; a pattern it does.
_UUID = {
    "title": "Id of a plan",
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
}
_PlanId = Annotated[UUID, WithJsonSchema(_UUID)]

ACTOR = Actor(actor="flow:expire-artifacts")


def run_name() -> str:
    """Return ``expire nightly 2026-11-29``, by the deployment and the day."""
    parameters = cast("dict[str, Any] | None", flow_run.parameters) or {}
    scheduled = cast("datetime | None", flow_run.scheduled_start_time) or datetime.now(UTC)
    name = " ".join(part for part in ("expire", cast("str | None", deployment.name), f"{scheduled:%Y-%m-%d}") if part)
    return f"{name} (dry run)" if parameters.get("dry_run") else name


# Prefect shows the descriptions of a docstring in the form of a run, and no others.
@flow(name="expire-artifacts", flow_run_name=run_name, persist_result=False)
async def expire_artifacts(
    policy: Annotated[RetentionPolicy | LeftOut, shown_as("Policy")] = None,
    kinds: Annotated[_Kinds | LeftOut, shown_as("Kinds of files")] = None,
    dry_run: Annotated[bool, shown_as("Dry run")] = False,
    plan_id: Annotated[_PlanId | LeftOut, shown_as("Plan")] = None,
    sweep: Annotated[bool, shown_as("Sweep the storage")] = False,
    leftovers: Annotated[bool, shown_as("Leftovers too")] = False,
    max_failed_share: Annotated[float, Field(ge=0, le=1), shown_as("Largest share of failures")] = _MAX_FAILED_SHARE,
) -> State[dict[str, Any]]:
    """Remove files whose time is over, and show what went, what stayed and why, in a table of this run.

    What earlier runs left is finished first. A file that cannot be deleted is listed, and tried again by the next run.
    Transfers whose time is over are ended by runs of all kinds, or of theirs.

    Args:
        policy: What goes and what stays; by the setting retention when left out.
        kinds: Only files of these kinds, whatever the policy says.
        dry_run: Make the plan and show it; remove nothing.
        plan_id: Execute exactly this plan, which a dry run has made; without policy and kinds.
        sweep: Then remove stored files that no row of the catalogue knows.
        leftovers: Also end exports whose time is over, and what dead processes have left half stored.
        max_failed_share: The run fails when more than this share of the files cannot be deleted. Those that an earlier
            run could not delete either count in runs of all kinds alone.
    """
    if await is_done_already():
        return skipped()
    settings = current_settings()
    chosen = _policy(settings, policy, kinds)
    run_id = UUID(str(cast("str", flow_run.id)))
    async with open_block_custody(settings) as custody:
        report = await run_retention(
            custody,
            chosen,
            by=ACTOR,
            links=EventLinks.of(settings),
            dry_run=dry_run,
            plan_id=plan_id,
            run_id=run_id,
        )
        problems: list[str] = []
        if not dry_run and (chosen.kinds is None or "transfer" in chosen.kinds):
            problems += await _end_transfers(custody, settings)
        if not dry_run and leftovers:
            problems += await _clear_leftovers(custody, settings)
        swept = await sweep_home(custody, settings, dry_run=dry_run) if sweep else None
    await _show(report, swept, settings)
    return _state(report, swept, problems, max_failed_share)


def _policy(settings: Settings, policy: RetentionPolicy | None, kinds: list[Kind] | None) -> RetentionPolicy:
    if policy is None:
        return retention_policy(settings, {} if kinds is None else {"kinds": kinds})
    return policy if kinds is None else policy.model_copy(update={"kinds": kinds})


async def _end_transfers(custody: Custody, settings: Settings) -> list[str]:
    """End transfers whose time is over; return what could not be removed, which others remove later."""
    ended = await expire_transfers(custody, EventLinks.of(settings))
    get_run_logger().info("%d transfers ended", len(ended))
    return [f"transfer {one.transfer_id}: {one.error}" for one in ended if one.error]


async def _clear_leftovers(custody: Custody, settings: Settings) -> list[str]:
    """Remove what failed work has left; return what could not be removed, which the next run tries again."""
    ended = await expire_exports(custody, settings)
    removed = await remove_abandoned(custody, silent_for=settings.retention.period("failed"))
    get_run_logger().info("%d exports ended, %d half stored files removed", len(ended), removed)
    return [f"export {one.job_id}: {one.error}" for one in ended if one.error]


async def _show(report: Report, swept: SweepReport | None, settings: Settings) -> None:
    """Leave the pages in Prefect's UI. A failure is logged: they only show what is done."""
    log = get_run_logger()
    for one in report.failed:
        log.error("file=%s could not be deleted: %s", one.file_id, one.error)
    for one in report.warnings:
        log.warning("file=%s had no place for stored bytes: %s", one.file_id, one.warning)
    try:
        await acreate_table_artifact(
            key="expired-files",
            table=cast("list[dict[str, Any]]", report_table(report, _api_url(settings), swept)),
            description=outcome(report),
        )
        await acreate_markdown_artifact(
            key="retention-statistics", markdown=statistics_page(report, swept), description="Before and after"
        )
    except Exception as error:  # noqa: BLE001 - it only shows what is done
        log.warning("the table of what went is missing: %s", error)


def _api_url(settings: Settings) -> str | None:
    try:
        return Links.of(settings).base_url
    except WaybillError:
        return None


def _state(
    report: Report, swept: SweepReport | None, problems: list[str], max_failed_share: float
) -> State[dict[str, Any]]:
    data = {name: value for name, value in report.view().items() if name not in {"removed", "kept", "failed"}}
    message = outcome(report)
    if report.lifted_by is not None:
        message += f"; {report.lifted_by} of 'waybill expire' lifts the cap"
    if swept is not None:
        data["sweep"] = swept.view()
        message += f"; sweep: {sweep_outcome(swept)}"
    if problems:
        message += f"; {'; '.join(problems[:10])}"
    stopped = swept is not None and swept.stopped is not None and swept.over_cap == 0
    if report.failed_share > max_failed_share or stopped:
        return Failed(message=message, data=data)
    return Completed(message=message, data=data)
