"""Global concurrency limits of Prefect on a real server: how many use what is limited, and what that costs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import accumulate
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate

from blocks.runs import global_limit
from blocks.runs.global_limit import GlobalLimit
from tests.stack_driver import PATIENCE_SECONDS, PREFECT_AUTH


@pytest.fixture
async def name(client: PrefectClient) -> AsyncIterator[str]:
    """The name of a limit that a test makes."""
    name = f"test-{uuid4()}"
    yield name
    if any(one.name == name for one in await client.read_global_concurrency_limits(limit=200, offset=0)):
        await client.delete_global_concurrency_limit_by_name(name)


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slots of each lease that is granted, as Prefect's own call was given them."""
    granted: list[int] = []
    whole = global_limit.concurrency

    def noted(*names: Any, **given: Any) -> Any:
        granted.append(given["occupy"])
        return whole(*names, **given)

    monkeypatch.setattr(global_limit, "concurrency", noted)
    return granted


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The name of the limit for each time that Prefect was asked what it is."""
    asked: list[str] = []
    read = GlobalLimit._read

    async def noted(self: GlobalLimit) -> None:
        asked.append(self.name)
        await read(self)

    monkeypatch.setattr(GlobalLimit, "_read", noted)
    yield asked


async def create(client: PrefectClient, name: str, limit: int, **more: Any) -> None:
    await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=limit, **more))


async def active(client: PrefectClient, name: str) -> int:
    return (await client.read_global_concurrency_limit_by_name(name)).active_slots


def user(name: str, uses: int, seconds: float, address: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": PREFECT_AUTH}
    command = [sys.executable, "-m", "tests.integration.limit_user", name, str(uses), str(seconds)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


async def until(look: Callable[[], Awaitable[int]], wanted: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await look() != wanted:  # noqa: ASYNC110 - it is at the server, or in the limit's own tasks
            await asyncio.sleep(0.02)


async def use(limit: GlobalLimit, gauge: list[int], seconds: float = 0.01) -> None:
    async with limit.slots():
        gauge[0] += 1
        gauge[1] = max(gauge[1], gauge[0])
        await asyncio.sleep(seconds)
        gauge[0] -= 1


async def test_two_processes_together_never_use_more_than_the_limit(
    client: PrefectClient, name: str, prefect_server: str
) -> None:
    await create(client, name, 4)
    users = [user(name, 30, 0.05, prefect_server) for _ in range(2)]
    said = [(await asyncio.to_thread(one.communicate, timeout=PATIENCE_SECONDS))[0] for one in users]
    assert [one.returncode for one in users] == [0, 0]
    lines = [line.split() for output in said for line in output.splitlines()]
    steps = [(float(moment), int(change)) for moment, change in lines]
    # At the same moment an end comes before a begin.
    at_once = list(accumulate(change for _, change in sorted(steps)))
    assert len(steps) == 2 * 2 * 30 and at_once[-1] == 0
    assert 2 <= max(at_once) <= 4
    assert await active(client, name) == 0


async def test_the_slots_of_a_killed_process_come_back(client: PrefectClient, name: str, prefect_server: str) -> None:
    await create(client, name, 2)
    holder = user(name, 1, 10_000, prefect_server)
    assert holder.stdout is not None and await asyncio.to_thread(holder.stdout.readline)
    assert await active(client, name) == 2
    holder.kill()
    holder.communicate()
    # The shortest lease that Prefect grants has a minute; its server looks for those that ran out.
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=2, leases=1) as limit, asyncio.timeout(PATIENCE_SECONDS):
        await use(limit, gauge)
    assert gauge == [0, 1]


async def test_many_uses_are_few_leases(client: PrefectClient, name: str, leases: list[int], looks: list[str]) -> None:
    await create(client, name, 8)
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=4, leases=2) as limit:
        await asyncio.gather(*(use(limit, gauge) for _ in range(300)))
        await asyncio.gather(*(use(limit, gauge) for _ in range(300)))
    assert leases == [4, 4] and looks == [name]
    assert gauge == [0, 8]
    assert await active(client, name) == 0


async def test_without_a_limit_prefect_is_asked_once(name: str, leases: list[int], looks: list[str]) -> None:
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=4, leases=2) as limit:
        await asyncio.gather(*(use(limit, gauge) for _ in range(300)))
        assert looks == [name] and leases == [] and gauge[1] > 100


async def test_a_limit_that_is_made_during_a_run_is_noticed(
    client: PrefectClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(global_limit, "FRESH_SECONDS", 0.0)
    async with GlobalLimit.open(name, uuid4(), group=4, leases=2) as limit, asyncio.timeout(PATIENCE_SECONDS):
        async with limit.slots() as slots:
            assert slots is None
        await create(client, name, 3)
        while slots is None:
            async with limit.slots() as slots:
                await asyncio.sleep(0.01)
        assert slots == 1


async def test_an_idle_lease_is_given_back(client: PrefectClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(global_limit, "IDLE_SECONDS", 0.1)
    await create(client, name, 4)
    async with GlobalLimit.open(name, uuid4(), group=4, leases=1, whole=True) as limit:
        async with limit.slots() as slots:
            assert slots == 4 and await active(client, name) == 4
        await until(lambda: active(client, name), 0)


async def test_who_uses_it_all_the_time_lets_others_have_a_turn(
    client: PrefectClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(global_limit, "KEPT_SECONDS", 0.2)
    await create(client, name, 2)
    gauge, over = [0, 0], asyncio.Event()
    async with (
        GlobalLimit.open(name, uuid4(), group=2, leases=1) as busy,
        GlobalLimit.open(name, uuid4(), group=2, leases=1) as other,
        asyncio.timeout(PATIENCE_SECONDS),
    ):

        async def go_on() -> None:
            while not over.is_set():
                await use(busy, gauge)

        greedy = [asyncio.create_task(go_on()) for _ in range(4)]
        await asyncio.sleep(1.0)
        await use(other, gauge)
        over.set()
        await asyncio.gather(*greedy)
    assert gauge == [0, 2]


async def test_a_limit_of_none_pauses_until_it_is_raised(client: PrefectClient, name: str) -> None:
    await create(client, name, 0)
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=4, leases=2) as limit, asyncio.timeout(PATIENCE_SECONDS):
        waiting = asyncio.create_task(use(limit, gauge))
        await asyncio.sleep(1.5)
        assert gauge == [0, 0]
        await client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=1))
        await waiting
    assert gauge == [0, 1]


async def test_a_limit_that_is_removed_holds_up_nobody(client: PrefectClient, name: str) -> None:
    await create(client, name, 0)
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=4, leases=2) as limit, asyncio.timeout(PATIENCE_SECONDS):
        waiting = [asyncio.create_task(use(limit, gauge)) for _ in range(20)]
        await asyncio.sleep(0.1)
        await client.delete_global_concurrency_limit_by_name(name)
        await asyncio.gather(*waiting)


async def test_a_cancelled_use_leaves_no_slot_taken(client: PrefectClient, name: str) -> None:
    await create(client, name, 2)
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=2, leases=1) as limit, asyncio.timeout(PATIENCE_SECONDS):
        tasks = [asyncio.create_task(use(limit, gauge, 10_000)) for _ in range(5)]
        await until(lambda: asyncio.sleep(0, gauge[0]), 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gauge[:] = [0, 0]
        await asyncio.gather(*(use(limit, gauge) for _ in range(5)))
        assert gauge == [0, 2]
    assert await active(client, name) == 0


async def test_slots_that_decay_are_a_rate(client: PrefectClient, name: str) -> None:
    # Two at first, and two more a second: five uses take a second and a half.
    await create(client, name, 2, slot_decay_per_second=2.0)
    loop, gauge = asyncio.get_running_loop(), [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=2, leases=1) as limit, asyncio.timeout(PATIENCE_SECONDS):
        began = loop.time()
        await asyncio.gather(*(use(limit, gauge, 0) for _ in range(5)))
        assert loop.time() - began > 1.0


async def test_a_lease_that_prefect_has_taken_back_is_replaced(
    client: PrefectClient, name: str, leases: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Renewed all the time, and given up at the first failure.
    monkeypatch.setattr("prefect.concurrency._leases._RENEWAL_FRACTION", 0.0001)
    monkeypatch.setattr("prefect.concurrency._leases._RENEWAL_MAX_ATTEMPTS", 1)
    await create(client, name, 1)
    gauge = [0, 0]
    async with GlobalLimit.open(name, uuid4(), group=1, leases=1) as limit, asyncio.timeout(PATIENCE_SECONDS):
        async with limit.slots(), get_client() as other:
            # Prefect's client keeps the id of a lease in the name of the thread that renews it.
            prefix = "concurrency-lease-renewal-"
            names = [one.name for one in threading.enumerate()]
            (held,) = [one.removeprefix(prefix) for one in names if one.startswith(prefix)]
            await other.release_concurrency_slots_with_lease(UUID(held))
            await until(lambda: asyncio.sleep(0, len(limit._leases)), 0)
        await use(limit, gauge)
    assert leases == [1, 1] and gauge == [0, 1]
