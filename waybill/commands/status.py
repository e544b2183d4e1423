"""``waybill status``: what Prefect knows of a run."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from uuid import UUID

import typer

from waybill.commands.output import human_time, print_json, print_line, print_table
from waybill.commands.session import read_id, stack_session


def status(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, as 'process' prints it.")],
    history: Annotated[bool, typer.Option("--history", help="Every state change and stage, newest first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Show how far a run is and what happened to it. Prefect's own history answers; nothing is kept twice."""
    wanted = read_id(run_id)
    with stack_session(prefect=True) as (_, addresses):
        answer = asyncio.run(_read(addresses.prefect_api_url, wanted, history))
    if as_json:
        print_json(answer)
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
        for key, value in answer.items():
            if value not in (None, ""):
                print_line(f"{key:11} {value}")
    return 0


async def _read(api_url: str | None, run_id: UUID, history: bool) -> dict[str, Any]:
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.run_status import read_history, read_status

    async with PrefectApi.open(api_url) as prefect, prefect.client() as client:
        return await (read_history(client, run_id) if history else read_status(client, run_id))
