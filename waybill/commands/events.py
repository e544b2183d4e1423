"""``waybill events``: what has happened lately, over all runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waybill.commands.output import human_time, print_json, print_notice, print_table
from waybill.commands.session import stack_session

if TYPE_CHECKING:
    from blocks.settings import Settings

# As `waybill.services.recent_events.MAX_HOURS`, which is slow to import.
_MAX_HOURS = 24 * 31
# A thousand runs are asked for one by one.
_PREFECT_SECONDS = 60.0


def events(
    hours: Annotated[
        float, typer.Option(min=0.01, max=_MAX_HOURS, help="How far to look back; fractions are fine.")
    ] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Show what has happened to runs and documents, newest first."""
    with stack_session(prefect=True) as (settings, addresses):
        found = asyncio.run(_read(settings, addresses.prefect_api_url, hours))
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
        print_notice("there is more than this; --hours with a smaller number shows less of the past")
    return 0


async def _read(settings: Settings, api_url: str | None, hours: float) -> dict[str, Any]:
    from blocks.catalog import Catalog
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.recent_events import read_recent_events

    async with (
        Catalog.open(settings.required_database_url) as catalog,
        PrefectApi.open(api_url) as prefect,
        prefect.client(seconds=_PREFECT_SECONDS) as client,
    ):
        return await read_recent_events(catalog, client, hours)
