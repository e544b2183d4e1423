"""deliver-webhooks and reconcile-events: webhooks for work pools, where nothing runs all the time.

Each run does what there is to do, for less than the minute until the next one. `waybill up` does both all the time by
itself, and there their schedules are off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from prefect import State, flow
from prefect.states import Completed
from pydantic import Field

from blocks.catalog import Catalog
from blocks.settings import current_settings
from blocks.webhooks.dispatch import Dispatcher
from flows.events.delivery_table import add_table, read_table
from flows.events.reconcile_loop import reconcile_once
from flows.events.reconciler import Window

# Attempts that have begun when the time is over; most receivers answer within this.
_LAST_ATTEMPTS = timedelta(seconds=5)
# Together with the start of the process (some seconds) and the last attempts less than the minute to the next run.
_DEFAULT_SECONDS = 45.0

# One process in an hour has no memory of what it has looked at: the hour before stands for the far look.
_LAST_HOUR = Window(back=timedelta(hours=1), thorough=True)


@flow(name="deliver-webhooks", flow_run_name="deliver webhooks", persist_result=False)
async def deliver_webhooks(
    seconds: Annotated[float, Field(gt=0, le=3600, description="How long to go on while something is due.")] = (
        _DEFAULT_SECONDS
    ),
) -> State[dict[str, Any]]:
    """Send what is due, for a bounded time, and show the deliveries in Prefect's UI. Returns at once when nothing is.

    Beside other dispatchers it does no harm: each endpoint is served by one of them at a time.
    """
    settings = current_settings()
    async with Catalog.open(settings.required_database_url) as catalog:
        dispatcher = Dispatcher.of(settings, catalog)
        drained = await dispatcher.run_until(
            dispatcher.wait_until_drained(within=timedelta(seconds=seconds)), last_attempts=_LAST_ATTEMPTS
        )
        table, told = await read_table(catalog)
    await add_table(table, told)
    return Completed(message=told if drained else f"{told}; more is due", data={"drained": drained, "deliveries": told})


@flow(name="reconcile-events", flow_run_name="reconcile events", persist_result=False)
async def reconcile_events() -> State[dict[str, Any]]:
    """Tell what hooks have lost, by Prefect's state history, and let endpoints follow their blocks."""
    found = await reconcile_once(current_settings(), _LAST_HOUR)
    return Completed(
        message=f"{found.added} events were missing; {found.read} of {found.runs} runs had changed",
        data={"added": found.added, "read": found.read, "runs": found.runs},
    )
