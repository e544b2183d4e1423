"""Deployed runs whose process ended without an outcome go on: they are queued again and reuse what they had stored.

Two moments: a flow server starts and finds runs that an earlier one left behind, or the process of a run dies while its
flow server lives. Refuses to go on for ever: a run whose process dies for the fifth time is *Crashed*. Runs that are in
a work pool belong to its worker.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.runner import Runner
from prefect.states import AwaitingRetry, Cancelled

from blocks.runs.prefect_lists import UnreadableRuns, read_states, runs_of_deployments
from blocks.runtime.outage_log import Problems
from waybill.stack.automations import LOST

# One kill is an accident, such as a machine short of memory; after the fifth, the run itself is suspect. Documents have
# processes of their own, and many uploads may share the run, so all of them would pay for a suspicion too soon.
MOST_ENDS = 5
# Whatever it was that ended the process, such as a lack of memory or descriptors, may pass.
_PAUSE = timedelta(seconds=2)
# The prefix of the message by which earlier ends of a run's process are counted.
_DIED = "The process of this run died"
_NOT_CONFIRMED = "The process that ran it was ended before it could confirm."
# Between attempts to reach a server that is away.
_ASK_AGAIN_SECONDS = 1.0

_LOG = logging.getLogger("waybill.stack")


class PersistentRunner(Runner):
    """Prefect's runner, which queues a run again when its process dies, where Prefect's own marks it *Crashed*."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        # Prefect has no setting or hook for this: its hook for crashes is called when the run is *Crashed* already.
        proposer = self._state_proposer
        propose_crashed = proposer.propose_crashed

        async def propose(flow_run: FlowRun, message: str) -> State[Any] | None:
            return None if await _is_queued_again(flow_run.id, message) else await propose_crashed(flow_run, message)

        proposer.propose_crashed = propose
        return self


async def _is_queued_again(run_id: UUID, reason: str) -> bool:
    """Queue a run again whose process has died; return False when that is not to be. Waits while no server answers."""
    problems = Problems()
    while True:
        try:
            async with get_client() as client:
                return await queue_again(client, run_id, reason)
        except ObjectNotFound:
            return False
        except (httpx.HTTPError, PrefectException, ValueError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.is_client_error:
                return False
            if problems.is_new("server"):
                _LOG.warning("flow_run=%s waits to be queued again: %s", run_id, str(error) or type(error).__name__)
        await asyncio.sleep(_ASK_AGAIN_SECONDS)


async def queue_again(client: PrefectClient, run_id: UUID, reason: str) -> bool:
    """Queue a run again whose process has died fewer than `MOST_ENDS` times; return whether it is queued.

    A run that has an outcome, is being cancelled, or cannot be read is left as it is. Raises what Prefect's client
    raises in an outage.
    """
    these = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    for run in await UnreadableRuns().read(client, flow_run_filter=these):
        if run.state_type is StateType.SCHEDULED:
            return True  # by an earlier call, whose answer was lost
        # Crashed: another run of the home, or the automation for heartbeats, has noticed it meanwhile.
        if run.state_type not in (StateType.RUNNING, StateType.PENDING, StateType.CRASHED):
            return False
        unreadable: list[str] = []
        states = await read_states(client, run, on_unreadable=unreadable.append)
        ends = 1 + sum(1 for state in states if (state.message or "").startswith(_DIED))
        # How often its process has died cannot be known without its states: it might go on for ever.
        if unreadable or ends >= MOST_ENDS:
            return False
        message = f"{_DIED} ({reason.rstrip('.')}); it goes on from what it had stored."
        await _queue(client, run, AwaitingRetry(scheduled_time=datetime.now(UTC) + _PAUSE, message=message))
        _LOG.warning("queued again flow_run=%s because=%s", run_id, reason)
        return True
    return False


async def _queue(client: PrefectClient, run: FlowRun, queued: State[Any]) -> None:
    """Set the state *queued*; a run that was cancelled since it was read becomes cancelled."""
    # Forced: the rules would count this as a retry of a flow that has none left.
    await client.set_flow_run_state(run.id, queued, force=True)
    *_, before, last = [None, None, *await read_states(client, run)]
    # The server has no state that is set on a condition.
    if last and last.name == queued.name and before and before.type in (StateType.CANCELLING, StateType.CANCELLED):
        await client.set_flow_run_state(run.id, Cancelled(message=before.message or _NOT_CONFIRMED), force=True)


async def resume_interrupted_runs(client: PrefectClient, deployment_ids: list[UUID]) -> None:
    """Put runs that were under way when their process was killed back into the queue.

    What they had stored is reused, so they go on where they stopped. One that was being cancelled becomes cancelled.
    Call it only while no process runs flows of these deployments.
    """
    under_way = {"type": {"any_": [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]}}
    # Taken for crashed while nothing served flows, as they could not be heard.
    lost = {"type": {"any_": [StateType.CRASHED]}, "name": {"any_": [LOST]}}
    for state in (under_way, lost):
        # All of them first: a run whose state has changed leaves the list.
        unreadable = UnreadableRuns()
        for run in await runs_of_deployments(client, deployment_ids, state=state, unreadable=unreadable):
            if run.work_pool_name is not None:
                continue  # begun while `prefect deploy` had given the deployment to a work pool: its worker runs it
            with suppress(ObjectNotFound):  # deleted meanwhile
                if run.state_type is StateType.CANCELLING:
                    await client.set_flow_run_state(run.id, Cancelled(message=_NOT_CONFIRMED), force=True)
                else:
                    message = "The process that ran it was ended; it goes on from what it had stored."
                    await _queue(client, run, AwaitingRetry(message=message))
        for run_id, reason in unreadable.reasons.items():
            # It stays as it is: queued again, it would keep all other runs from starting.
            _LOG.error("did not resume flow_run=%s because=%s", run_id, reason)
