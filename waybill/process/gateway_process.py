"""The gateway process of `waybill up`, run as ``python -m waybill.process.gateway_process``.

Answers on a socket that `waybill up` has bound and keeps open. Ends with its parent.
"""

from __future__ import annotations

import socket
import sys
import threading

from blocks.runtime.quick_imports import quick_imports

with quick_imports():
    from blocks.open_custody import open_deployed_custody
    from blocks.settings import current_settings
    from waybill.gateway.resources import TIMEOUTS
    from waybill.gateway.server.server import run_gateway
    from waybill.process.child_protocol import child_arguments, run_child, say_ready


def main() -> int:
    """Answer until a signal arrives, or until stdin closes because the parent is gone. Return the exit code."""
    parser = child_arguments(__doc__)
    parser.add_argument("--listen-fd", type=int, required=True, help="a listening socket")
    arguments = parser.parse_args()

    def answer(shutdown_requested: threading.Event) -> None:
        settings = current_settings()
        run_gateway(
            settings,
            open_deployed_custody(settings, TIMEOUTS),
            socket.socket(fileno=arguments.listen_fd),
            shutdown_requested=shutdown_requested.is_set,
            on_ready=lambda: say_ready(arguments.ready_fd),
        )

    return run_child(answer)


if __name__ == "__main__":
    sys.exit(main())
