"""``waybill gateway``: the HTTP front door alone, until Ctrl-C."""

from __future__ import annotations

from typing import Annotated

import typer

from blocks.settings import current_settings
from waybill.commands.output import print_notice
from waybill.commands.session import open_deployed_custody, stack_session

# Port 0 asks for any free one.
Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for every network of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one.")]


def gateway(host: Host = "127.0.0.1", port: Port = 8000) -> int:
    """Answer HTTP until Ctrl-C: files, links, webhooks. 'waybill up' does this too.

    Runs and their status need a Prefect server, which is the one that PREFECT_API_URL names; none is started.
    """
    from waybill.gateway.resources import TIMEOUTS
    from waybill.gateway.server.server import run_gateway
    from waybill.process.listener import announced, listen
    from waybill.process.signals import noting_signals
    from waybill.stack.home import prepare_home

    prepare_home(current_settings().home)
    with (
        # First the port: a taken one is told before anything is started.
        listen(host, port) as listener,
        stack_session(prefect=False) as (settings, _),
        announced(settings, listener) as url,
        noting_signals() as asked_to_end,
    ):
        run_gateway(
            settings,
            open_deployed_custody(settings, TIMEOUTS),
            listener,
            asked_to_end=asked_to_end.is_set,
            on_ready=lambda: print_notice(f"the gateway listens on {url}\n  end it with Ctrl-C"),
        )
        print_notice("stopping")
    return 0
