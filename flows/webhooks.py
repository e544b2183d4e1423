"""deliver-webhooks and reconcile-events: webhooks for work pools, where no process runs all the time.

Each run does the work that is due, for less than the minute until the next run. `waybill up` does both continuously by
itself, and serves these deployments with their schedules off.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from prefect import State, flow
from prefect.states import Completed
from pydantic import Field

from blocks.catalog import Catalog
from blocks.runtime.form_schema import shown_as
from blocks.settings import current_settings
from blocks.webhooks.dispatch import Dispatcher
from flows.events.delivery_table import add_table, read_table
from flows.events.reconcile_loop import reconcile_once
from flows.events.reconciler import Window

# For attempts in flight when the time is over; most receivers answer within this.
_LAST_ATTEMPTS = timedelta(seconds=5)
# Together with the start of the process (some seconds) and the last attempts, less than the minute to the next run.
_DEFAULT_SECONDS = 45.0

# Each run is a new process, which does not know when the last day was checked last; so every run checks an hour.
_LAST_HOUR = Window(back=timedelta(hours=1), thorough=True)


@flow(name="deliver-webhooks", flow_run_name="deliver webhooks", persist_result=False)
async def deliver_webhooks(
    seconds: Annotated[float, Field(gt=0, le=3600), shown_as("Time limit in seconds")] = _DEFAULT_SECONDS,
) -> State[dict[str, Any]]:
    """Send the webhooks that are due, and show the deliveries in Prefect's UI (artifact webhook-deliveries).

    Ends as soon as nothing is due. Other dispatchers may run at the same time: each endpoint is served by one of them.

    Args:
        seconds: How long to send at most, in seconds.
    """
    settings = current_settings()
    async with Catalog.open(settings.required_database_url) as catalog:
        dispatcher = Dispatcher.of(settings, catalog)
        drained = await dispatcher.run_until(
            dispatcher.wait_until_drained(within=timedelta(seconds=seconds)), last_attempts=_LAST_ATTEMPTS
        )
        table, summary = await read_table(catalog)
        await add_table(table, summary, catalog)
    return Completed(
        message=summary if drained else f"{summary}; more is due", data={"drained": drained, "deliveries": summary}
    )


@flow(name="reconcile-events", flow_run_name="reconcile events", persist_result=False)
async def reconcile_events() -> State[dict[str, Any]]:
    """Record events of runs that are missing, from Prefect's state history, and sync endpoints with their blocks."""
    found = await reconcile_once(current_settings(), _LAST_HOUR)
    return Completed(
        message=f"{found.added} events were missing; {found.read} of {found.runs} runs had changed",
        data={"added": found.added, "read": found.read, "runs": found.runs},
    )
