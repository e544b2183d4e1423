"""The process of the local Prefect server; run as ``python -m waybill.stack.prefect_process``.

Owns what happens inside that process: Prefect is imported while Postgres still starts, the app begins when the parent
says on stdin that the database is there, and it ends only after the task-run records that it still holds in memory are
written. Serves on a socket that the parent has bound, so no other program can take the port in between. Refuses to
outlive a parent that dies before it has said so, and to serve without a credential; `prefect_guard` says who is
answered.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

import uvicorn

from blocks.runtime.quick_imports import quick_imports
from waybill.stack.prefect_guard import guarded
from waybill.stack.prefect_server import GO

_LOOK_SECONDS = 0.1
# Limits are counted in looks, not by the clock: the time in which this process itself is stopped must lose no record.
# Prefect's queue drains at some hundred records a second; a burst of thousands right before the end takes 20 s.
_MOST_LOOKS = 200
# A database on a busy disk may stall for seconds. A queue that stands still for ten belongs to records that cannot be
# written: the rest is not waited for.
_STUCK_LOOKS = 100
# The queue is empty between two messages, too.
_EMPTY_LOOKS = 2
# Browsers keep their connections open; a request that is under way gets this long.
_OPEN_REQUESTS_SECONDS = 3


class DrainingServer(uvicorn.Server):
    """A uvicorn server that lets Prefect write what it has accepted before its services are stopped.

    Prefect stops its services by cancelling them, and what waits in their in-memory queues is lost: the UI would show
    tasks as running for ever.
    """

    async def main_loop(self) -> None:
        """Serve until a signal asks for the end, then go on serving until the queues are empty."""
        await super().main_loop()
        depth, unchanged = -1, 0
        for _ in range(_MOST_LOOKS):
            unchanged = unchanged + 1 if depth == (depth := _waiting_messages()) else 0
            if self.force_exit or unchanged >= (_STUCK_LOOKS if depth else _EMPTY_LOOKS):
                return
            await asyncio.sleep(_LOOK_SECONDS)


def main() -> None:
    """Serve on the file descriptor of the command line until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    # Not read here: it shows people and the next waybill command which home this server belongs to.
    parser.add_argument("--home", required=True)
    parser.add_argument("--fd", required=True, type=int, help="the bound socket to listen on")
    arguments = parser.parse_args()

    with quick_imports():
        from prefect.server.api.server import create_app
        from prefect.settings import get_current_settings

    settings = get_current_settings().server.api
    if settings.auth_string is None:
        # Started by a `waybill up` from before an upgrade, whose other processes would not have the credential either.
        sys.exit("no credential for Prefect's API was given; stop 'waybill up' and start it again")
    with quick_imports():
        # Some hundred routes with their models, for the life of the process.
        app = create_app(final=True)
    if sys.stdin.buffer.readline() != GO:
        sys.exit("the waybill command that started this server ended before the database was there")
    config = uvicorn.Config(
        guarded(
            app,
            credential=settings.auth_string.get_secret_value(),
            origins=settings.cors_allowed_origins.split(","),
        ),
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=_OPEN_REQUESTS_SECONDS,
    )
    # Not by its number: uvicorn would take it for a Unix socket, asyncio would leave TCP's small-packet delay on, and
    # every answer would come 40 ms late.
    DrainingServer(config).run(sockets=[socket.socket(fileno=arguments.fd)])


def _waiting_messages() -> int:
    """How many messages Prefect's in-memory queues have taken and not yet handled."""
    from prefect.server.utilities.messaging.memory import METRICS

    return sum(topic["published"] - topic["consumed"] for topic in METRICS.values())


if __name__ == "__main__":
    main()
