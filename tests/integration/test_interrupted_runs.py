"""A run whose process has died is queued again, unless it has an outcome or dies again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Failed, Pending, Running

from tests.integration.poison import NESTED, write, write_run
from waybill.stack.interrupted_runs import MOST_ENDS, queue_again, resume_interrupted_runs


@flow(name="interrupted-flow")
async def interrupted_flow() -> None: ...


async def run_in(client: PrefectClient, *states: State) -> UUID:
    deployment = await client.create_deployment(await client.create_flow(interrupted_flow), name=uuid4().hex)
    run = await client.create_flow_run_from_deployment(deployment)
    for state in states:
        await client.set_flow_run_state(run.id, state, force=True)
    return run.id


async def deployment_of(client: PrefectClient, run: UUID) -> UUID:
    deployment = (await client.read_flow_run(run)).deployment_id
    assert deployment is not None
    return deployment


def meanwhile(client: PrefectClient, act: Callable[[UUID], Awaitable[None]]) -> PrefectClient:
    """*client*; another one acts on a run just before it is queued."""

    class Between:
        async def set_flow_run_state(self, run_id: UUID, state: State, force: bool = False) -> object:
            if state.name == "AwaitingRetry":
                await act(run_id)
            return await client.set_flow_run_state(run_id, state, force=force)

        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

    return cast("PrefectClient", Between())


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


async def test_a_run_whose_queueing_was_not_confirmed_stays_queued(client: PrefectClient) -> None:
    """The server has stored the state, and its answer is lost: the caller asks again."""
    run = await run_in(client, Running())
    assert await queue_again(client, run, "gone")
    assert await queue_again(client, run, "gone")
    assert (await client.read_flow_run(run)).state_type is StateType.SCHEDULED
    assert len([state for state in await client.read_flow_run_states(run) if state.name == "AwaitingRetry"]) == 1


async def test_a_run_whose_states_cannot_be_read_is_not_waited_for(client: PrefectClient) -> None:
    run = await run_in(client)
    state = {"type": "RUNNING", "data": {"more": NESTED}}
    await write(client, f"/flow_runs/{run}/set_state", {"state": state, "force": True})
    await client.set_flow_run_state(run, Running(), force=True)
    assert not await queue_again(client, run, "gone")


async def test_a_run_that_cannot_be_read_is_not_waited_for(client: PrefectClient) -> None:
    run = await write_run(client, await client.create_flow(interrupted_flow), "a label that is not a number")
    try:
        assert not await queue_again(client, run, "gone")
    finally:
        await client.delete_flow_run(run)


@pytest.mark.parametrize("how", ["queued again", "resumed"])
async def test_a_cancellation_that_comes_between_is_kept(client: PrefectClient, how: str) -> None:
    run = await run_in(client, Running())

    async def cancel(run_id: UUID) -> None:
        await client.set_flow_run_state(run_id, Cancelling())

    if how == "queued again":
        await queue_again(meanwhile(client, cancel), run, "gone")
    else:
        await resume_interrupted_runs(meanwhile(client, cancel), [await deployment_of(client, run)])
    assert (await client.read_flow_run(run)).state_type is StateType.CANCELLED


async def test_a_run_that_is_deleted_meanwhile_keeps_no_other_from_being_resumed(client: PrefectClient) -> None:
    deleted = await run_in(client, Running())
    deployment = await deployment_of(client, deleted)
    other = (await client.create_flow_run_from_deployment(deployment)).id
    await client.set_flow_run_state(other, Running(), force=True)

    async def delete(run_id: UUID) -> None:
        if run_id == deleted:
            await client.delete_flow_run(run_id)

    await resume_interrupted_runs(meanwhile(client, delete), [deployment])
    assert (await client.read_flow_run(other)).state_type is StateType.SCHEDULED
