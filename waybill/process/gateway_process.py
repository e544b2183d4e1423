"""The gateway process of `waybill up`, run as ``python -m waybill.process.gateway_process``.

Answers on a socket that `waybill up` has bound and keeps open. Ends with its parent.
"""

from __future__ import annotations

import socket
import sys

from blocks.errors import WaybillError
from blocks.open_custody import open_deployed_custody
from blocks.settings import current_settings
from waybill.gateway.resources import TIMEOUTS
from waybill.gateway.server.server import run_gateway
from waybill.process.child_protocol import child_arguments, end_with_parent, say_ready
from waybill.process.signals import noting_signals


def main() -> int:
    """Answer until a signal arrives, or until stdin closes because the parent is gone. Return the exit code."""
    parser = child_arguments(__doc__)
    parser.add_argument("--listen-fd", type=int, required=True, help="a listening socket")
    arguments = parser.parse_args()
    with noting_signals() as shutdown_requested:
        end_with_parent()
        settings = current_settings()
        try:
            run_gateway(
                settings,
                open_deployed_custody(settings, TIMEOUTS),
                socket.socket(fileno=arguments.listen_fd),
                shutdown_requested=shutdown_requested.is_set,
                on_ready=lambda: say_ready(arguments.ready_fd),
            )
        except WaybillError as error:
            print(f"waybill: {error.message}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
