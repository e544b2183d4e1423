"""Detect runs that lost both their process and their runner, by missing heartbeats, with a Prefect automation.

Owns that automation, one for each home: created or updated when serving of flows starts, and paused when it is stopped
on purpose, since runs that are interrupted then continue with the next start and are not lost. No hook runs for its
state changes; the reconciler records them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import PrefectException
from prefect.settings import get_current_settings

from blocks.runs.ownership import Owner

# Begins its name. Earlier versions had one of exactly this name for all homes of a Prefect server.
AUTOMATION = "waybill: runs without a heartbeat"
# The state name of such a run: a crash that is only assumed.
LOST = "Lost"

# Two heartbeats may be late or missing on a busy machine.
_MISSED_HEARTBEATS = 2.5
# A flow server that is asked to end has ten seconds, and its runs need some of them.
_FAREWELL_SECONDS = 2.0

_LOG = logging.getLogger("waybill.stack")


def patience() -> timedelta | None:
    """Return how long a run may send no heartbeat; None where flows send none."""
    seconds = get_current_settings().flows.heartbeat_frequency
    return timedelta(seconds=_MISSED_HEARTBEATS * seconds) if seconds else None


def automation_name(owner: Owner) -> str:
    """Return the name of the automation of one home."""
    return f"{AUTOMATION} ({owner.home})"


async def watch_heartbeats(
    client: PrefectClient, flow_names: Sequence[str], within: timedelta | None, owner: Owner
) -> None:
    """Mark runs of these flows, and of *owner*, as crashed after *within* (10 s at least) without a heartbeat.

    With None mark none.

    Idempotent. Silence before this call does not count: the automation forgets it.
    """
    try:
        if within is None:
            await _switch_off(client, owner)
            return
        # It would watch the runs of this home, too, while they are meant to be silent.
        for former in await client.read_automations_by_name(AUTOMATION):
            await client.delete_automation(former.id)
        wanted = _automation(flow_names, within, owner)
        found = await client.read_automations_by_name(automation_name(owner))
        if found:
            # A new trigger has a new id, and with it none of the old one's expectations.
            await client.update_automation(found[0].id, wanted)
        else:
            await client.create_automation(wanted)
        for other in found[1:]:
            await client.delete_automation(other.id)
    except (PrefectException, httpx.HTTPError, ValueError) as error:  # also an automation that the client cannot read
        _LOG.warning("runs whose process is killed together with this one stay 'running' for now: %s", error)


async def stop_watching(client: PrefectClient, owner: Owner) -> None:
    """Expect no heartbeats of runs of *owner* until the next `watch_heartbeats`."""
    try:
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await _switch_off(client, owner)
    except (PrefectException, httpx.HTTPError, ValueError, TimeoutError) as error:
        _LOG.warning("runs that were ended may be taken for crashed: %s", str(error) or "no answer")


async def _switch_off(client: PrefectClient, owner: Owner) -> None:
    for automation in await client.read_automations_by_name(automation_name(owner)):
        await client.pause_automation(automation.id)


def _automation(flow_names: Sequence[str], within: timedelta, owner: Owner) -> AutomationCore:
    seconds = within.total_seconds()
    return AutomationCore.model_validate(
        {
            "name": automation_name(owner),
            # Said explicitly: an update sends only what is set, and `stop_watching` has paused the automation. See
            # ``findings/automation_update_drops_defaults.sh``.
            "enabled": True,
            "description": "Made by 'waybill up'. Marks runs as crashed when their process was killed.",
            "trigger": {
                "type": "event",
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                # Both of them.
                "match_related": [
                    {"prefect.resource.role": "flow", "prefect.resource.name": list(flow_names)},
                    {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{owner.tag}"},
                ],
                # "Running" too: a process may die before its first heartbeat.
                "after": ["prefect.flow-run.heartbeat", "prefect.flow-run.Running"],
                # Any change of state: the process that sets one watches the run.
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
                    "message": f"This run sent no heartbeat for {seconds:.0f} s: its process is gone, or hangs.",
                }
            ],
        }
    )
