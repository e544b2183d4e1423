"""Send what Prefect still holds in this process before the server is stopped.

Prefect sends log lines and task-run records from background threads, which it drains when the interpreter exits: too
late for a server that stops with the command. Does nothing where Prefect was never imported.
"""

from __future__ import annotations

import concurrent.futures
import sys

# The records of a thousand task runs take some seconds; a server that no longer answers must not delay the end.
_SEND_SECONDS = 15.0


def send_pending_records() -> None:
    """Wait until log lines and events of this process have reached the Prefect server, at most 15 s."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        # Called outside of an event loop it waits; inside of one it would return a coroutine, hence the thread.
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(worker.drain_all, timeout=_SEND_SECONDS).result()
