"""Fail scheduled runs that Prefect's server cannot read, so that they do not keep all other runs from starting.

Prefect's runner polls one list of all runs that are due. A run in it that the server cannot serialise makes every poll
fail, and after some failures the runner ends. Such a run can be found by its id and given a state, though not read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Failed

from blocks.runs.prefect_lists import UnreadableRuns, runs_of_deployments, unreadable_reason

# The runner fetches a run some seconds before it is due.
_AHEAD = timedelta(minutes=1)

_LOG = logging.getLogger("waybill.stack")


async def fail_unreadable_runs(client: PrefectClient, deployment_ids: Sequence[UUID]) -> list[UUID]:
    """Set to *Failed* the runs of these deployments that are due and cannot be read; return their ids.

    One request as long as there is none. Raises what Prefect's client raises in an outage.
    """
    try:
        await client.get_scheduled_flow_runs_for_deployments(
            list(deployment_ids), scheduled_before=datetime.now(UTC) + _AHEAD
        )
        return []
    except Exception as error:
        if unreadable_reason(error) is None:
            raise
    unreadable = UnreadableRuns()
    await runs_of_deployments(
        client, deployment_ids, state={"type": {"any_": [StateType.SCHEDULED]}}, unreadable=unreadable
    )
    for run_id, reason in unreadable.reasons.items():
        # Forced: the rules would have the run read first.
        await client.set_flow_run_state(run_id, Failed(message=f"This run was not started: {reason}."), force=True)
        _LOG.error("failed flow_run=%s which kept others from starting because=%s", run_id, reason)
    return list(unreadable.reasons)
