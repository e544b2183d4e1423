"""``waybill dispatch``: webhooks alone, until Ctrl-C."""

from __future__ import annotations

from waybill.commands.output import print_notice
from waybill.commands.session import stack_session


def dispatch() -> int:
    """Send webhooks that are due until Ctrl-C, without Prefect. 'waybill up' does this too.

    Any number of copies may run, on any number of machines with the same database: each endpoint is served by one of
    them at a time, and another one goes on where one has ended or was killed.
    """
    from waybill.process.run_dispatcher import run_dispatcher
    from waybill.process.signals import noting_signals

    with stack_session(prefect=False) as (settings, _), noting_signals() as asked_to_end:
        run_dispatcher(
            settings,
            asked_to_end,
            on_ready=lambda: print_notice("sending webhooks as they become due\n  end it with Ctrl-C"),
        )
        print_notice("stopped")
    return 0
