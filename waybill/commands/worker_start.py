"""``waybill worker start``: the worker's side in one command, until Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer

from blocks.errors import InvalidOptions
from waybill.commands.output import print_notice
from waybill.commands.worker import Home, enroll_machine, worker_home


def start(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="The gateway's URL, on a machine that is not enrolled yet.")
    ] = None,
    code: Annotated[
        str | None,
        typer.Argument(metavar="[CODE]", help="The code of 'worker invite'; - reads it from standard input."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="This worker's name, if the code has none.")] = None,
    most_runs: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=100, help="Assignments that are worked on at a time.")
    ] = 1,
    home: Home = None,
) -> int:
    """Take jobs from the gateway until Ctrl-C.

    Runs Prefect's worker for the labels of this machine, and reaches the gateway alone. With a URL and a code it makes
    the key and enrols the machine first, if that has not been done.

    Examples: waybill worker start / waybill worker start https://waybill.example.org wbw_... --name gpu-1
    """
    import asyncio

    from waybill.worker.start import keep_worker

    if (url is None) != (code is None):
        raise InvalidOptions("name both the gateway's URL and the code of 'waybill worker invite', or neither")
    place = worker_home(home)
    if url is not None and code is not None and not place.is_enrolled():
        if not place.identity_path.exists():
            place.create_identity()
            print_notice(f"made {place.identity_path}")
        config, labels = enroll_machine(place, url, code, name)
        print_notice(f"enrolled as {config.name}; labels: {', '.join(labels) or 'none'}")
    asyncio.run(keep_worker(place, most_runs=most_runs, say=print_notice))
    return 0
