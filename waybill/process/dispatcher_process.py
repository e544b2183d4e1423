"""The dispatcher process of `waybill up`, run as ``python -m waybill.process.dispatcher_process``.

Sends webhooks, records events that hooks have missed, and syncs endpoints with Prefect blocks. Ends with its parent.
"""

from __future__ import annotations

import logging
import sys
import threading

from blocks.runtime.quick_imports import quick_imports

with quick_imports():
    from blocks.settings import current_settings
    from flows.events.reconcile_loop import reconcile_forever
    from waybill.process.child_protocol import child_arguments, run_child, say_ready
    from waybill.process.run_dispatcher import run_dispatcher

_LOG = logging.getLogger("waybill.delivery")


def main() -> int:
    """Send until a signal arrives, or until stdin closes because the parent is gone. Return the exit code."""
    arguments = child_arguments(__doc__).parse_args()

    def ready() -> None:
        _LOG.info("the dispatcher begins")
        say_ready(arguments.ready_fd)

    def dispatch(shutdown_requested: threading.Event) -> None:
        settings = current_settings()
        run_dispatcher(settings, shutdown_requested, on_ready=ready, alongside=[lambda: reconcile_forever(settings)])
        _LOG.info("the dispatcher has ended")

    return run_child(dispatch)


if __name__ == "__main__":
    sys.exit(main())
