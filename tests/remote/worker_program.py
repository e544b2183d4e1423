"""A process as `waybill worker start` will be: a forwarder and Prefect's worker, until a signal.

Its arguments: the gateway's address, the token of a session, the name of the worker, its label and its folder.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx

from tests.stack_driver import PATIENCE_SECONDS
from waybill.worker import worker_processes
from waybill.worker.prefect_forwarder import PrefectForwarder
from waybill.worker.prefect_worker import WorkerOptions, ending_on_signals, keep_prefect_worker


async def work(gateway_url: str, token: str, name: str, label: str, home: str) -> None:
    """Work until SIGTERM."""

    async def session(*, renewed: bool) -> str:
        del renewed
        return token

    marked = {variable: value for variable, value in os.environ.items() if variable.startswith("WAYBILL_TEST_")}
    with ending_on_signals() as ending, (Path(home) / "worker.log").open("ab") as output:
        options = WorkerOptions(name=name, labels=(label,), home=Path(home), environment=marked, output=output)
        async with (
            httpx.AsyncClient(base_url=gateway_url) as gateway,
            PrefectForwarder.running(gateway, session) as forwarder,
        ):
            await keep_prefect_worker(options, forwarder, ending)


if __name__ == "__main__":
    # A flow run that gets no processor time reports its end late.
    worker_processes._GRACE_SECONDS = PATIENCE_SECONDS  # pyright: ignore[reportPrivateUsage]
    asyncio.run(work(*sys.argv[1:]))
