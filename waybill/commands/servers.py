"""``waybill up``, ``waybill gateway`` and ``waybill dispatch``: commands that run until Ctrl-C."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from blocks.settings import Settings, current_settings, prefect_api_url
from waybill.commands.arguments import this_account
from waybill.commands.output import print_notice, steps_timed
from waybill.commands.session import report_new_key, report_surroundings, stack_session, warn_of_lost_records

Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for every network of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one.")]


def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="The port of Prefect's UI and API.")] = 4200,
) -> int:
    """Run everything until Ctrl-C: Postgres, Prefect, gateway, webhooks.

    Keeps Postgres, the Prefect server with its UI, the deployments of prefect.yaml, the gateway and the webhook
    dispatcher running, and restarts what dies. --host and --port are the gateway's.

    Other commands use what runs here. Safe to start twice: the second one prints where the first one is.
    """
    from waybill.stack.up import run_up

    report_surroundings()
    # Read before the stack sets it: None means a server that `up` starts itself.
    register = partial(_register, prefect_api_url())
    with steps_timed() as steps:
        return run_up(
            current_settings(),
            host=host,
            port=port,
            ui_port=ui_port,
            on_ready=register,
            on_up=steps.end,
            say=steps.say,
        )


def gateway(host: Host = "127.0.0.1", port: Port = 8000) -> int:
    """Answer HTTP until Ctrl-C: files, links, webhooks.

    'waybill up' does this too. Starting runs and reading their status needs the Prefect server that PREFECT_API_URL
    names; none is started.
    """
    from blocks.open_custody import open_deployed_custody
    from waybill.gateway.resources import TIMEOUTS
    from waybill.gateway.server.server import run_gateway
    from waybill.process.gateway_socket import announced, bound_to, exposure, listen
    from waybill.process.signals import noting_signals
    from waybill.stack.home import prepare_home

    prepare_home(current_settings().home)
    with (
        # The port first: one that is taken is reported before anything is started.
        listen(host, port) as listener,
        stack_session(prefect=False, makes_home=True) as (settings, _),
        announced(settings, listener),
        noting_signals() as shutdown_requested,
    ):
        if warning := exposure(settings, listener):
            print_notice(warning)
        run_gateway(
            settings,
            open_deployed_custody(settings, TIMEOUTS, on_new_key=report_new_key),
            listener,
            shutdown_requested=shutdown_requested.is_set,
            on_ready=lambda: print_notice(f"the gateway listens on {bound_to(listener)}\n  stop it with Ctrl-C"),
        )
        print_notice("stopping")
    return 0


def dispatch() -> int:
    """Send webhooks that are due until Ctrl-C, without Prefect.

    'waybill up' does this too. Any number of copies may run, on any number of machines with the same database: one of
    them serves an endpoint at a time, and another one takes over from one that ended or was killed.
    """
    from waybill.process.run_dispatcher import run_dispatcher
    from waybill.process.signals import noting_signals

    with stack_session(prefect=False, makes_home=True) as (settings, _), noting_signals() as shutdown_requested:
        run_dispatcher(
            settings,
            shutdown_requested,
            on_ready=lambda: print_notice("sending webhooks as they become due\n  stop it with Ctrl-C"),
        )
        print_notice("stopped")
    return 0


def _register(named_api: str | None) -> None:
    warn_of_lost_records(named_api)
    # Read again: by now the stack has put its addresses into the environment.
    asyncio.run(_register_all(current_settings()))


async def _register_all(settings: Settings) -> None:
    from waybill.services.api_keys import KEY_FILE_NAME, ensure_first_key
    from waybill.services.register_blocks import register_blocks

    await register_blocks(settings, on_new_key=report_new_key)
    key = await ensure_first_key(settings, by=this_account())
    if key is not None:
        path = settings.home / KEY_FILE_NAME
        # Not the key itself: what is printed here ends in the log of a service manager or container.
        print_notice(f"made an API key with every permission; it is in {path}, which only its owner can read")
