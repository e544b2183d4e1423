"""The dispatcher process of `waybill up`, run as ``python -m waybill.process.dispatcher_process``.

Sends webhooks, records events that hooks have missed, and syncs endpoints with Prefect blocks. Ends with its parent.
"""

from __future__ import annotations

import sys

from blocks.errors import WaybillError
from blocks.settings import current_settings
from flows.events.reconcile_loop import reconcile_forever
from waybill.process.child_protocol import child_arguments, end_with_parent, say_ready
from waybill.process.run_dispatcher import run_dispatcher
from waybill.process.signals import noting_signals


def main() -> int:
    """Send until a signal arrives, or until stdin closes because the parent is gone. Return the exit code."""
    arguments = child_arguments(__doc__).parse_args()
    with noting_signals() as shutdown_requested:
        end_with_parent()
        try:
            settings = current_settings()
            run_dispatcher(
                settings,
                shutdown_requested,
                on_ready=lambda: say_ready(arguments.ready_fd),
                alongside=[lambda: reconcile_forever(settings)],
            )
        except WaybillError as error:
            print(f"waybill: {error.message}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
