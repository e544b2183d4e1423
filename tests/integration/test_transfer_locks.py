"""Locks on uploads: many are taken in one statement, and each is as it would be alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack

import pytest

from blocks.catalog.output_locks import OutputLocks
from blocks.errors import TransferLocked
from blocks.transfers.locks import TransferLocks

IDS = [f"trf_{number:016x}" for number in range(50)]


class Counted(OutputLocks):
    """Counts statements, and says when the first has begun."""

    statements = 0

    def __init__(self, database_url: str, name: str) -> None:
        super().__init__(database_url, name)
        self.asked = asyncio.Event()

    async def try_acquire(self, keys: Collection[str], *, required: bool = False) -> set[str]:
        self.statements += 1
        self.asked.set()
        return await super().try_acquire(keys, required=required)

    async def release(self, keys: Collection[str]) -> None:
        self.statements += 1
        await super().release(keys)


@pytest.fixture
async def ours(database_url: str) -> AsyncGenerator[Counted]:
    async with Counted.open(database_url) as session:
        yield session


@pytest.fixture
async def theirs(database_url: str) -> AsyncGenerator[TransferLocks]:
    async with OutputLocks.open(database_url) as session:
        yield TransferLocks(session)


async def test_fifty_at_once_take_two_statements(ours: Counted, theirs: TransferLocks) -> None:
    locks, all_entered = TransferLocks(ours), asyncio.Barrier(len(IDS) + 1)
    leave = asyncio.Event()

    async def hold(transfer_id: str) -> None:
        async with locks.hold(transfer_id):
            await all_entered.wait()
            await leave.wait()

    holding = [asyncio.create_task(hold(one)) for one in IDS]
    await all_entered.wait()
    for one in (IDS[0], IDS[-1]):
        with pytest.raises(TransferLocked):
            async with theirs.hold(one):
                raise AssertionError("two writers")
    leave.set()
    await asyncio.gather(*holding)
    assert ours.statements == 2
    async with AsyncExitStack() as stack:
        for one in IDS:
            await stack.enter_async_context(theirs.hold(one))


async def test_only_the_one_that_another_has_is_refused(ours: Counted, theirs: TransferLocks) -> None:
    locks, got = TransferLocks(ours), list[str]()

    async def hold(transfer_id: str) -> None:
        async with locks.hold(transfer_id):
            got.append(transfer_id)

    async with theirs.hold(IDS[1]):
        ended = await asyncio.gather(*map(hold, IDS[:3]), return_exceptions=True)
    assert [type(one) for one in ended] == [type(None), TransferLocked, type(None)]
    assert sorted(got) == [IDS[0], IDS[2]]


async def test_a_request_that_ends_while_it_waits_leaves_no_lock(ours: Counted, theirs: TransferLocks) -> None:
    locks = TransferLocks(ours)

    async def hold() -> None:
        async with locks.hold(IDS[0]):
            raise AssertionError("it was cancelled before")

    waiting = asyncio.create_task(hold())
    await ours.asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with theirs.hold(IDS[0]), locks.hold(IDS[1]):
        pass
