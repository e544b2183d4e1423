"""A run whose process has died is queued again, unless it has an outcome or dies again and again."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running, State

from waybill.stack.interrupted_runs import MOST_ENDS, queue_again


@flow(name="interrupted-flow")
async def interrupted_flow() -> None: ...


async def run_in(client: PrefectClient, *states: State) -> UUID:
    deployment = await client.create_deployment(await client.create_flow(interrupted_flow), name=uuid4().hex)
    run = await client.create_flow_run_from_deployment(deployment)
    for state in states:
        await client.set_flow_run_state(run.id, state, force=True)
    return run.id


async def test_a_run_is_queued_again_until_its_process_has_died_three_times(client: PrefectClient) -> None:
    run = await run_in(client, Pending(), Running())
    for _ in range(MOST_ENDS - 1):
        assert await queue_again(client, run, "Process exited with status code: -9.")
        found = await client.read_flow_run(run)
        assert (found.state_type, found.state_name) == (StateType.SCHEDULED, "AwaitingRetry")
        assert found.state is not None
        assert found.state.message == (
            "The process of this run died (Process exited with status code: -9); it goes on from what it had stored."
        )
        await client.set_flow_run_state(run, Running(), force=True)
    assert not await queue_again(client, run, "Process exited with status code: -9.")
    assert (await client.read_flow_run(run)).state_type is StateType.RUNNING


@pytest.mark.parametrize("state", [Crashed(name="Lost"), Pending()], ids=["marked meanwhile", "never started"])
async def test_a_run_that_has_no_process_any_more_is_queued_again(client: PrefectClient, state: State) -> None:
    run = await run_in(client, state)
    assert await queue_again(client, run, "gone")
    assert (await client.read_flow_run(run)).state_type is StateType.SCHEDULED


@pytest.mark.parametrize("state", [Completed(), Failed(), Cancelling(), Cancelled()], ids=lambda state: state.name)
async def test_a_run_that_has_an_outcome_or_is_being_cancelled_stays_as_it_is(
    client: PrefectClient, state: State
) -> None:
    run = await run_in(client, Running(), state)
    assert not await queue_again(client, run, "gone")
    assert (await client.read_flow_run(run)).state_type is state.type
