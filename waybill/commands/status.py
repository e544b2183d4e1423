"""``waybill status``: what Prefect knows of a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from waybill.commands.output import human_time, print_json, print_line, print_notice, print_table
from waybill.commands.session import read_id, stack_session


def status(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, as 'process' prints it.")],
    history: Annotated[bool, typer.Option("--history", help="Every state change and stage, newest first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> int:
    """Show how far a run is and what happened to it. Prefect's own history answers; nothing is kept twice.

    Also shows which code 'waybill up' runs and which is installed, and warns when they differ.
    """
    wanted = read_id(run_id)
    with stack_session(prefect=True) as (_, addresses):
        answer = asyncio.run(_read(addresses.prefect_api_url, wanted, history))
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


def _compare_code(home: Path) -> dict[str, str | None]:
    """Return the code that is installed and the one that serves flows, and warn of processes that run other code."""
    from waybill.stack.code_version import code_on_disk
    from waybill.stack.kept_process import running_code
    from waybill.stack.served import FLOWS, with_other_code

    installed = code_on_disk()
    if different := with_other_code(home, installed):
        running = "; ".join(f"{called} runs {code}" for called, code in different.items())
        print_notice(
            f"'waybill up' was started with other code than is installed now ({installed}): {running}. End it and "
            "start it again"
        )
    return {"installed": installed, "serving": running_code(home, FLOWS)}


async def _read(api_url: str | None, run_id: UUID, history: bool) -> dict[str, Any]:
    from blocks.runs.prefect_api import PrefectApi
    from waybill.services.run_status import read_history, read_status

    async with PrefectApi.open(api_url) as prefect, prefect.client() as client:
        return await (read_history(client, run_id) if history else read_status(client, run_id))
