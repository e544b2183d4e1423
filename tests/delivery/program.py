"""What `DispatcherProcess` runs: a dispatcher that sends until SIGTERM, with limits as given.

With ``die`` it kills itself at that point of its first attempt.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from blocks.catalog import Catalog
from blocks.settings import Settings
from blocks.webhooks.dispatch import Dispatcher
from blocks.webhooks.dispatch.limits import Limits
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.client import Attempt, EndpointClient
from tests.delivery.outbox_place import LOOPBACK, QUICK
from tests.delivery.process import Point


async def _run(database_url: str, home: Path, die: Point | None, limits: dict[str, Any]) -> None:
    class MortalClient(EndpointClient):
        """Ends its process with kill -9 at the point that the test is about."""

        async def send(self, **what: Any) -> Attempt:
            if die == "before the send":
                os.kill(os.getpid(), signal.SIGKILL)
            attempt = await super().send(**what)
            if die == "between answer and record":
                os.kill(os.getpid(), signal.SIGKILL)
            return attempt

    guard = AddressGuard(LOOPBACK)
    async with Catalog.open(database_url) as catalog:
        dispatcher = Dispatcher(
            catalog,
            SecretBox.of(Settings(home=home)),
            guard=guard,
            schedule=QUICK,
            database_url=database_url,
            client_for=lambda url, _: MortalClient(url, guard=guard),
            limits=Limits(**limits),
        )
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
        running = asyncio.get_running_loop().create_task(dispatcher.run())
        print("ready", flush=True)
        await asked.wait()
        await dispatcher.stop(within=timedelta(seconds=5))
        await running


def _main() -> None:
    database_url, home, options = sys.argv[1:]
    asyncio.run(_run(database_url, Path(home), **json.loads(options)))


if __name__ == "__main__":
    _main()
