"""Runs of a schedule that has fallen behind, on a real Prefect server: one of them does the work, in every order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import ConcurrencyLimitConfig, FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.states import AwaitingRetry, Completed, Failed, Pending, Running, Scheduled

from flows.expire import expire_artifacts
from flows.history import trim_history
from flows.schedules import is_done_already, skipped

HOUR = timedelta(hours=1)
_FLOWS = {"flows/expire.py:expire_artifacts": expire_artifacts, "flows/history.py:trim_history": trim_history}
CANCELLING = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
WAITING = {"limit": 1, "collision_strategy": "ENQUEUE"}


def deployed() -> dict[str, dict[str, Any]]:
    """The deployments of maintenance flows, by names such as ``expire_artifacts/nightly``."""
    found = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"]
    return {f"{one['entrypoint'].partition(':')[2]}/{one['name']}": one for one in found if one["entrypoint"] in _FLOWS}


def test_a_night_waits_for_its_turn_and_what_comes_soon_again_does_not() -> None:
    found = deployed()
    crons = {name: one["schedules"][0]["cron"] for name, one in found.items()}
    assert crons == {
        "expire_artifacts/nightly": "0 2 * * *", "expire_artifacts/hourly": "7 * * * *",
        "expire_artifacts/transfers": "*/5 * * * *", "trim_history/nightly": "0 3 * * *",
    }  # fmt: skip
    for name, one in found.items():
        assert one["concurrency_limit"] == (WAITING if name.endswith("/nightly") else CANCELLING), name
        _FLOWS[one["entrypoint"]].validate_parameters(one.get("parameters", {}))


class Schedule:
    """A deployment, and runs of it that its schedule has made: Prefect's API makes others only."""

    def __init__(self, client: PrefectClient, deployment_id: UUID) -> None:
        self._client, self._deployment_id = client, deployment_id

    async def due(self, *ago: timedelta, **parameters: Any) -> list[Due]:
        now = datetime.now(UTC)
        return [
            Due(
                self._client,
                await self._client.create_flow_run_from_deployment(
                    self._deployment_id, parameters=parameters, state=Scheduled(scheduled_time=now - age)
                ),
            )
            for age in ago
        ]


class Due:
    """A run that is due, and what its runner and its flow do with it, step by step."""

    def __init__(self, client: PrefectClient, run: FlowRun) -> None:
        self._client, self._run = client, run.model_copy(update={"auto_scheduled": True})
        self.worked = self.waits = False
        self._is_needless: bool | None = None
        self._steps = iter((self._claim, self._begin, self._end))
        self.outcome: State[Any] = Completed()

    async def step(self) -> None:
        await next(self._steps)()

    async def rest(self) -> None:
        for step in self._steps:
            await step()

    async def again(self) -> None:
        """What a runner does with a run that had to wait."""
        self.waits, self._steps = False, iter((self._claim, self._begin, self._end))
        await self.rest()

    async def state(self) -> StateType | None:
        return (await self._client.read_flow_run(self._run.id)).state_type

    async def is_needless(self, *, by_schedule: bool = True) -> bool:
        with FlowRunContext.model_construct(flow_run=self._run.model_copy(update={"auto_scheduled": by_schedule})):
            return await is_done_already()

    async def lose_its_process(self) -> None:
        """As the flow server does with a run whose process was killed."""
        await self._client.set_flow_run_state(self._run.id, AwaitingRetry(), force=True)

    async def _claim(self) -> None:
        found = (await self._client.set_flow_run_state(self._run.id, Pending())).state
        assert found is not None
        if found.is_pending():
            return
        self.waits = found.name == "AwaitingConcurrencySlot"
        assert self.waits or found.is_cancelled()
        self._steps = iter((_nothing, _nothing))

    async def _begin(self) -> None:
        await self._client.set_flow_run_state(self._run.id, Running())
        self._is_needless = await self.is_needless()

    async def _end(self) -> None:
        outcome = skipped() if self._is_needless else self.outcome
        self.worked = not self._is_needless and outcome.is_completed()
        await self._client.set_flow_run_state(self._run.id, outcome)


async def _nothing() -> None: ...


@pytest.fixture(params=[WAITING, CANCELLING], ids=["waiting", "cancelling"])
async def schedule(request: pytest.FixtureRequest, client: PrefectClient) -> AsyncIterator[Schedule]:
    limit = ConcurrencyLimitConfig.model_validate(request.param)
    made = await expire_artifacts.ato_deployment(name="behind", concurrency_limit=limit)
    deployment_id = cast("UUID", await cast("Any", made.apply()))
    yield Schedule(client, deployment_id)
    await client.delete_deployment(deployment_id)


def orders(first: Due, second: Due) -> Iterator[Sequence[Due]]:
    """Every order of the three steps of both."""
    for places in combinations(range(6), 3):
        yield [first if place in places else second for place in range(6)]


async def test_in_every_order_one_of_two_missed_runs_does_the_work(schedule: Schedule) -> None:
    for number in range(20):
        # Due just now, so that the work of the orders before does not count.
        early, late = await schedule.due(timedelta(microseconds=1), timedelta(0))
        order = list(orders(early, late))[number]
        for one in order:
            await one.step()
        for one in (early, late):
            if one.waits:
                await one.again()
        assert [early.worked, late.worked].count(True) == 1, f"order {number}"


async def test_a_run_whose_work_failed_makes_no_other_one_needless(schedule: Schedule) -> None:
    early, late = await schedule.due(3 * HOUR, 2 * HOUR)
    early.outcome = Failed()
    await early.rest()
    await late.rest()
    assert late.worked


async def test_only_the_same_work_that_began_since_makes_a_run_needless(schedule: Schedule) -> None:
    (dry,) = await schedule.due(3 * HOUR, dry_run=True)
    await dry.rest()
    (early,) = await schedule.due(2 * HOUR)
    assert dry.worked and not await early.is_needless()
    await early.rest()
    (late,) = await schedule.due(HOUR)
    assert await late.is_needless()
    assert not await late.is_needless(by_schedule=False), "a person who starts one wants it to work"
    await late.rest()
    (now,) = await schedule.due(timedelta(0))
    assert not await now.is_needless(), "the others began before it was due"
    (later,) = await schedule.due(-HOUR)
    assert not await later.is_needless()


async def test_a_run_whose_process_was_killed_goes_on(schedule: Schedule) -> None:
    """The limit does not keep the place of the killed process: the run would be cancelled by its own former place."""
    (killed,) = await schedule.due(HOUR)
    await killed.step()
    await killed.step()
    await killed.lose_its_process()
    await killed.again()
    assert killed.worked
    assert await killed.state() is StateType.COMPLETED
