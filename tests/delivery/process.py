"""A dispatcher as a process of its own, which tests can stop, continue and kill.

Run as a program it sends until SIGTERM, with limits as given; with ``die`` it kills itself at that point of its first
attempt.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

Point = Literal["before the send", "between answer and record"]

_PATIENCE_SECONDS = 30.0


class DispatcherProcess:
    """One running dispatcher; use it in a ``with`` block, which kills what a failed test leaves."""

    def __init__(self, database_url: str, home: Path, *, die: Point | None = None, **limits: float) -> None:
        options = json.dumps({"die": die, "limits": {"poll_seconds": 0.1, **limits}})
        self.process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, database_url, str(home), options],
            stdout=subprocess.PIPE,
            # As in a terminal of its own: a test's signals go to this process only.
            start_new_session=True,
        )

    def __enter__(self) -> DispatcherProcess:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_until_ready(self) -> DispatcherProcess:
        """Wait until it sends."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", f"exit code {self.process.poll()}"
        return self

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(_PATIENCE_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


async def _run(database_url: str, home: Path, die: Point | None, limits: dict[str, Any]) -> None:
    from datetime import timedelta
    from functools import partial

    from blocks.catalog import Catalog
    from blocks.settings import Settings
    from blocks.webhooks.address import AddressGuard
    from blocks.webhooks.client import Attempt, EndpointClient
    from blocks.webhooks.secrets import SecretBox
    from tasks.delivery import Dispatcher, Limits
    from tests.delivery.outbox_place import LOOPBACK, QUICK

    class MortalClient(EndpointClient):
        """Ends its process with kill -9 at the point that the test is about."""

        async def send(self, *, event_id: str, body: bytes, keys: Sequence[bytes]) -> Attempt:
            if die == "before the send":
                os.kill(os.getpid(), signal.SIGKILL)
            attempt = await super().send(event_id=event_id, body=body, keys=keys)
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
            client_for=partial(MortalClient, guard=guard),
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
