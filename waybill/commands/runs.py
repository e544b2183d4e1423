"""``waybill status`` and ``waybill events``: what happened to one run, and to all runs lately."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from waybill.commands.arguments import AsJson, read_id
from waybill.commands.output import human_time, print_json, print_line, print_notice, print_table
from waybill.commands.session import stack_session

if TYPE_CHECKING:
    from blocks.settings import Settings

# As `waybill.services.recent_events.MAX_HOURS`, which is slow to import.
_MAX_HOURS = 24 * 31
# Prefect is asked for the states of up to a thousand runs, one request each.
_PREFECT_SECONDS = 60.0


def status(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, as 'process' prints it.")],
    history: Annotated[bool, typer.Option("--history", help="Every state change and stage, newest first.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show how far a run is, or its history.

    The answer comes from Prefect's own record of the run. Also shows which code 'waybill up' runs and which is
    installed, and warns when they differ.
    """
    wanted = read_id(run_id)
    with stack_session(prefect=True) as (settings, addresses):
        answer = asyncio.run(_read_run(settings, addresses.prefect_api_url, wanted, history))
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
        )
    else:
        for key, value in {**answer, **code}.items():
            if value not in (None, ""):
                print_line(f"{key:11} {value}")
    return 0


def events(
    hours: Annotated[
        float, typer.Option(min=0.01, max=_MAX_HOURS, help="How far to look back; fractions are allowed.")
    ] = 24,
    as_json: AsJson = False,
) -> int:
    """Show recent events of all runs and documents, newest first."""
    with stack_session(prefect=True) as (settings, addresses):
        found = asyncio.run(_read_events(settings, addresses.prefect_api_url, hours))
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
                (entry["task_id"] or "")[:8],
                entry["source_file"] or entry["metadata"].get("run_name") or "",
                entry["message"] or "",
            )
            for entry in found["events"]
        ],
        numeric=("progress",),
    )
    if found["truncated"]:
        print_notice("the list is cut off here; a smaller --hours shows a shorter period in full")
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


async def _read_run(settings: Settings, api_url: str | None, run_id: UUID, history: bool) -> dict[str, Any]:
    from blocks.postgres import single_connection
    from blocks.runs.ownership import catalogue_id
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.run_status import read_history, read_status

    async with single_connection(settings.required_database_url) as connection:
        catalogue = await catalogue_id(connection)
    async with PrefectApi.open(api_url) as prefect, prefect.client() as client:
        read = read_history if history else read_status
        return await read(client, run_id, catalogue=catalogue)


async def _read_events(settings: Settings, api_url: str | None, hours: float) -> dict[str, Any]:
    from blocks.catalog import Catalog
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.recent_events import read_recent_events

    async with (
        Catalog.open(settings.required_database_url) as catalog,
        PrefectApi.open(api_url) as prefect,
        prefect.client(seconds=_PREFECT_SECONDS) as client,
    ):
        return await read_recent_events(catalog, client, hours)
