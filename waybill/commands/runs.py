"""``waybill status|events`` and ``waybill runs list|cancel``: what happens to runs, and ending one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from waybill.commands.arguments import AsJson, check_ids, this_account
from waybill.commands.output import human_age, human_time, print_json, print_line, print_notice
from waybill.commands.session import stack_session, with_prefect
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.catalog import Catalog
    from blocks.runs.prefect_api import PrefectApi
    from blocks.settings import Settings

# As `waybill.services.recent_events.MAX_HOURS`, which is slow to import.
_MAX_HOURS = 24 * 31
# Prefect is asked for the states of up to a thousand runs, one request each.
_PREFECT_SECONDS = 60.0
# As `blocks.runs.run_events.REPORTED_FLOWS`, which is slow to import.
_FLOW = "process-documents"


RunId = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, as 'runs list' shows it; 8 digits do.")]


def status(
    run_id: RunId,
    history: Annotated[bool, typer.Option("--history", help="Every state change and stage, newest first.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show how far a run is, or its history.

    The answer comes from Prefect's own record of the run. Also shows which code 'waybill up' runs and which is
    installed, and warns when they differ.
    """
    check_ids([run_id])
    with stack_session(prefect=True) as (settings, addresses):
        answer = asyncio.run(_read_run(settings, addresses.prefect_api_url, run_id, history))
    code = _compare_code(addresses.home)
    if as_json:
        print_json(answer if history else {**answer, "code": code})
    elif history:
        print_table(
            ("time", "status", "progress", "message"),
            [
                (human_time(e["timestamp"]), e["status"], f"{e['progress']:.0%}", e["message"] or "")
                for e in answer["history"]
            ],
            numeric=("progress",),
            prose=("message",),
        )
    else:
        for key, value in {**answer, **code}.items():
            if value not in (None, ""):
                print_line(f"{key:11} {_shown(key, value)}")
    return 0


def _shown(key: str, value: Any) -> str:
    if isinstance(value, dict):
        counts = cast("dict[str, int]", value)
        return ", ".join(f"{count:,} {name}" for name, count in counts.items())
    return f"{human_time(value)}, {human_age(value)}" if key.endswith("_at") else str(value)


def events(
    hours: Annotated[
        float, typer.Option(min=0.01, max=_MAX_HOURS, help="How far to look back; fractions are allowed.")
    ] = 24,
    as_json: AsJson = False,
) -> int:
    """Show recent events of all runs and documents, newest first."""

    async def work(_: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from waybill.services.recent_events import read_recent_events

        async with prefect.client(seconds=_PREFECT_SECONDS) as client:
            return await read_recent_events(catalog, client, hours)

    found = with_prefect(work)
    if as_json:
        print_json(found)
        return 0
    print_table(
        ("time", "what", "progress", "run", "source", "message"),
        [
            (
                human_time(entry["timestamp"]),
                entry["event_type"] or entry["status"],
                "" if entry["progress"] is None else f"{entry['progress']:.0%}",
                entry["task_id"] or "",
                entry["source_file"] or entry["metadata"].get("run_name") or "",
                entry["message"] or "",
            )
            for entry in found["events"]
        ],
        numeric=("progress",),
        cut=("source",),
        prose=("message",),
        spare=("progress", "message"),
    )
    if found["truncated"]:
        print_notice("the list is cut off here; a smaller --hours shows a shorter period in full")
    return 0


def list_runs(
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only runs in this state, such as running or failed. May be repeated."),
    ] = None,
    flow: Annotated[str, typer.Option(metavar="FLOW", help="Only runs of this flow; all for every flow.")] = _FLOW,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many runs on one page.")] = 20,
    after: Annotated[str | None, typer.Option(help="Continue a list: the 'next' of the page before.")] = None,
    as_json: AsJson = False,
) -> int:
    """List runs, newest first.

    Those that are due later are listed only with --state scheduled.

    Examples: waybill runs list --state running / waybill runs list --state failed --json
    """

    async def work(_: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from blocks.runs.ownership import catalogue_id
        from waybill.services.runs import list_runs as read_runs
        from waybill.services.uploads import with_uploads

        async with catalog.connection() as connection:
            catalogue = await catalogue_id(connection)
        async with prefect.client(seconds=_PREFECT_SECONDS) as client:
            found = await read_runs(
                client, catalogue=catalogue, states=state or (), flow=flow, limit=limit, after=after
            )
        async with catalog.connection() as connection:
            return await with_uploads(connection, found)

    page = with_prefect(work)
    if as_json:
        print_json(page)
        return 0
    print_table(
        ("run", "began", "state", "progress", "documents", "seconds", "name"),
        [row for run in page["runs"] for row in (_row(run), *map(_upload_row, run["uploads"]))],
        numeric=("progress", "documents", "seconds"),
        cut=("name",),
        spare=("progress", "documents"),
    )
    if page["next"]:
        print_notice(f"more: waybill runs list ... --after {page['next']}")
    return 0


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    return (
        run["task_id"],
        human_time(run["started_at"] or run["due_at"]),
        run["status"],
        f"{run['progress']:.0%}",
        "" if run["documents"] is None else f"{run['documents']:,}",
        "" if run["seconds"] is None else f"{run['seconds']:.1f}",
        run["name"],
    )


def _upload_row(upload: dict[str, Any]) -> tuple[str, ...]:
    """Return the row of an upload that shares the run above it; its id stands for that of a run."""
    return (upload["task_id"], "", upload["status"], "", "", "", f"  {upload['name']}")


def cancel(run_id: RunId, as_json: AsJson = False) -> int:
    """Cancel a run, under way or scheduled.

    One that is under way ends within seconds. What it has stored stays, and a later run reuses it.
    """
    check_ids([run_id])

    async def work(settings: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from waybill.services.runs import cancel_run
        from waybill.services.short_ids import find_run

        async with prefect.client(seconds=_PREFECT_SECONDS) as client:
            async with catalog.connection() as connection:
                found = await find_run(client, connection, run_id)
            return await cancel_run(catalog, client, found, home=settings.home, by=this_account())

    answer = with_prefect(work)
    if as_json:
        print_json(answer)
    else:
        print_line(f"{answer['task_id']}  {answer['status']}")
    return 0


def _compare_code(home: Path) -> dict[str, str | None]:
    """Return the code that is installed and the one that serves flows, and warn of processes that run other code."""
    from waybill.stack.code_version import code_on_disk
    from waybill.stack.kept_process import running_code
    from waybill.stack.kept_programs import FLOWS, with_other_code

    installed = code_on_disk()
    if different := with_other_code(home, installed):
        running = "; ".join(f"{called} runs {code}" for called, code in different.items())
        print_notice(
            f"'waybill up' was started with other code than is installed now ({installed}): {running}. Stop it and "
            "start it again"
        )
    return {"installed": installed, "serving": running_code(home, FLOWS)}


async def _read_run(settings: Settings, api_url: str | None, run_id: str, history: bool) -> dict[str, Any]:
    from blocks.postgres import single_connection
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.short_ids import find_run
    from waybill.services.uploads import history_of, read_known, status_of

    async with (
        single_connection(settings.required_database_url) as connection,
        PrefectApi.open(api_url) as prefect,
        prefect.client(seconds=_PREFECT_SECONDS) as client,
    ):
        read = history_of if history else status_of
        found = await find_run(client, connection, run_id)
        return await read(client, found, await read_known(connection, found))
