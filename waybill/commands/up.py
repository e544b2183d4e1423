"""``waybill up``: everything running, until Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from blocks.settings import current_settings
from waybill.output import print_notice


def up(
    ui_port: Annotated[int, typer.Option(min=1, max=65535, help="Where Prefect's UI and API listen.")] = 4200,
) -> int:
    """Keep Postgres, the Prefect server with its UI, and the deployments of prefect.yaml running until Ctrl-C.

    Other commands use what runs here. Safe to start twice: the second says where the first one is.
    """
    from waybill.stack.up import run_up

    return run_up(current_settings(), ui_port=ui_port, on_ready=_register, say=print_notice)


def _register() -> None:
    from waybill.registration import register_blocks

    # Read afresh: by now the stack has put its addresses into the environment.
    asyncio.run(register_blocks(current_settings()))
