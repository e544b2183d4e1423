"""A remote worker on this machine, enrolled at a gateway as a person does it: by a code, with a key of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx

from blocks.access import Actor
from blocks.hand_over.session import WorkerSession, enroll
from blocks.hand_over.worker_home import WorkerHome
from tests.gateway.place import HOUR, Gateway
from waybill.services.workers import invite_worker

OPERATOR = Actor(actor="cli:operator")


async def invited(gateway: Gateway, *labels: str, name: str | None = None, lasts: timedelta = HOUR) -> str:
    """A code for one worker."""
    async with gateway.custody.catalog.transaction() as connection:
        made = await invite_worker(connection, name=name, labels=labels, lasts=lasts, by=OPERATOR)
    return made.text


def new_home(folder: Path) -> WorkerHome:
    """The home of a worker that has a key and no more."""
    home = WorkerHome(folder)
    home.create_identity()
    return home


async def enrolled(
    gateway: Gateway,
    folder: Path,
    *labels: str,
    name: str = "gpu-1",
    client: httpx.AsyncClient | None = None,
    monotonic: Callable[[], float] | None = None,
) -> WorkerSession:
    """The session of a new worker whose home is *folder*."""
    home = new_home(folder)
    client = client or gateway.client
    await enroll(home, client, gateway.url, await invited(gateway, *labels), name=name, version="1.0")
    return WorkerSession(home, client, **({"monotonic": monotonic} if monotonic else {}))
