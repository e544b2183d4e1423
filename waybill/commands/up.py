"""``waybill up``: everything running, until Ctrl-C."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from blocks.settings import Settings, current_settings, prefect_api_url
from waybill.commands.account import this_account
from waybill.commands.gateway import Host, Port
from waybill.commands.output import print_notice
from waybill.commands.session import warn_of_lost_records


def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Where Prefect's UI and API listen.")] = 4200,
) -> int:
    """Keep Postgres, the Prefect server with its UI, the deployments of prefect.yaml and the gateway running.

    Until Ctrl-C. --host and --port are the gateway's, which answers signed links: see 'waybill files share'.

    Other commands use what runs here. Safe to start twice: the second says where the first one is.
    """
    from waybill.stack.up import run_up

    # Before the stack sets it: None means a server of our own.
    register = partial(_register, prefect_api_url())
    return run_up(current_settings(), host=host, port=port, ui_port=ui_port, on_ready=register, say=print_notice)


def _register(named_api: str | None) -> None:
    warn_of_lost_records(named_api)
    # Read afresh: by now the stack has put its addresses into the environment.
    asyncio.run(_register_all(current_settings()))


async def _register_all(settings: Settings) -> None:
    from waybill.services.bootstrap_api_key import FILE_NAME, ensure_first_key
    from waybill.services.register_blocks import register_blocks

    await register_blocks(settings)
    key = await ensure_first_key(settings, by=this_account())
    if key is not None:
        print_notice(
            f"made an API key that may do everything; it is in {settings.home / FILE_NAME}, and not shown again: {key}"
        )
