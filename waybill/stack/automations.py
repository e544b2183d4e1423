"""Runs whose process died with everybody who could have told: a Prefect automation notices that heartbeats stay away.

Owns that automation: made or brought up to date when flows are begun to be served, switched off when that ends on
purpose, since what is ended then goes on with the next start and is not lost. No hook runs for what it does; the
reconciler tells of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.events.schemas.automations import AutomationCore

AUTOMATION = "waybill: runs without a heartbeat"
# What such a run is called: a crash of which nobody knows whether it is one.
LOST = "Lost"

# Two heartbeats may be late or missing on a busy machine.
_MISSED_HEARTBEATS = 2.5
# A serving process that is asked to end has ten seconds, and its runs need some of them.
_FAREWELL_SECONDS = 2.0

_LOG = logging.getLogger("waybill.stack")


def patience() -> timedelta | None:
    """How long a run may stay silent; None where flows give no heartbeats."""
    from prefect.settings import get_current_settings

    seconds = get_current_settings().flows.heartbeat_frequency
    return timedelta(seconds=_MISSED_HEARTBEATS * seconds) if seconds else None


async def watch_heartbeats(client: PrefectClient, flow_names: Sequence[str], within: timedelta | None) -> None:
    """From now on, let runs of these flows crash that say nothing for *within* (10 s at least); None: let none.

    Idempotent. What was silent before does not count: the automation's memory of it is dropped.
    """
    from prefect.exceptions import PrefectException

    try:
        if within is None:
            await _switch_off(client)
            return
        wanted = _automation(flow_names, within)
        found = await client.read_automations_by_name(AUTOMATION)
        if found:
            # A trigger that is written anew has a new id, and with it none of the old one's expectations.
            await client.update_automation(found[0].id, wanted)
        else:
            await client.create_automation(wanted)
        for other in found[1:]:
            await client.delete_automation(other.id)
    except (PrefectException, httpx.HTTPError) as error:
        _LOG.warning("runs whose process is killed together with this one stay 'running' for now: %s", error)


async def stop_watching(client: PrefectClient) -> None:
    """Expect no heartbeats until `watch_heartbeats` is called again."""
    from prefect.exceptions import PrefectException

    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await _switch_off(client)
    except (PrefectException, httpx.HTTPError, TimeoutError) as error:
        _LOG.warning("runs that were ended may be taken for crashed: %s", str(error) or "no answer")


async def _switch_off(client: PrefectClient) -> None:
    for automation in await client.read_automations_by_name(AUTOMATION):
        await client.pause_automation(automation.id)


def _automation(flow_names: Sequence[str], within: timedelta) -> AutomationCore:
    from prefect.events.schemas.automations import AutomationCore

    seconds = within.total_seconds()
    return AutomationCore.model_validate(
        {
            "name": AUTOMATION,
            "description": "Made by 'waybill up'. Ends runs whose process was killed and could tell nobody.",
            "trigger": {
                "type": "event",
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "match_related": {"prefect.resource.role": "flow", "prefect.resource.name": list(flow_names)},
                # "Running" too: a process may die before its first heartbeat.
                "after": ["prefect.flow-run.heartbeat", "prefect.flow-run.Running"],
                # Any change of state: whoever sets one knows of the run.
                "expect": ["prefect.flow-run.*"],
                "for_each": ["prefect.resource.id"],
                "posture": "Proactive",
                "threshold": 1,
                "within": seconds,
            },
            "actions": [
                {
                    "type": "change-flow-run-state",
                    "name": LOST,
                    "state": "CRASHED",
                    "message": f"Nothing was heard of this run for {seconds:.0f} s: its process is gone, or hangs.",
                }
            ],
        }
    )
