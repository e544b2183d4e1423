"""The dispatcher under kill -9, SIGSTOP and a database that crashes: nothing is lost, and repeats have the same id."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from blocks.webhooks.dispatch.limits import Limits
from tests.delivery import DispatcherProcess, OutboxPlace, open_place
from tests.delivery.outbox_place import until
from tests.delivery.process import Point
from tests.stack_driver import StackCommand, end_everything, private_directory
from tests.webhooks import Answer, Receiver

SECOND = timedelta(seconds=1)
# Long enough for a renewal every third of it on a busy machine.
SHORT_LEASE = {"lease_seconds": 1.5, "lease_margin_seconds": 0.3}


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[OutboxPlace]:
    async with open_place(database_url, tmp_path / "home") as opened:
        yield opened


@pytest.mark.parametrize(("point", "received"), [("before the send", 1), ("between answer and record", 2)])
async def test_what_a_killed_dispatcher_had_in_hand_is_sent_by_another_after_the_lease(
    place: OutboxPlace, receiver: Receiver, point: Point, received: int
) -> None:
    await place.register(receiver.url())
    (event_id,) = await place.happen()
    began = time.monotonic()
    with DispatcherProcess(place.database_url, place.home, die=point, **SHORT_LEASE) as killed:
        assert killed.wait() == -signal.SIGKILL
    assert len(receiver.received()) == received - 1
    assert await place.states() == {"pending": 1}
    async with place.sending():
        await place.until_states(delivered=1)
    assert time.monotonic() - began > 1.2, "the lease has been respected"
    requests = receiver.received()
    assert [request.event_id for request in requests] == [event_id] * received
    assert len({request.body for request in requests}) == 1


async def test_what_was_recorded_before_the_kill_is_not_sent_again(place: OutboxPlace, receiver: Receiver) -> None:
    await place.register(receiver.url())
    (event_id,) = await place.happen()
    with DispatcherProcess(place.database_url, place.home, **SHORT_LEASE) as killed:
        await place.until_states(delivered=1)
        killed.kill()
    async with place.sending():
        (later,) = await place.happen()
        await place.until_states(delivered=2)
    assert [request.event_id for request in receiver.received()] == [event_id, later]


async def test_dispatchers_that_are_killed_under_load_lose_nothing_and_repeat_only_what_was_under_way(
    place: OutboxPlace, receiver: Receiver
) -> None:
    receiver.answer(Answer(delay_seconds=0.005))
    for number in range(8):
        await place.register(receiver.url(f"/{number}"))
    ids = await place.happen(50)
    kills = 0
    for _ in range(2):
        with DispatcherProcess(place.database_url, place.home, **SHORT_LEASE) as killed:
            count = len(receiver.received())
            await receiver.until(count + 40)
            killed.kill()
            kills += 1
        ids += await place.happen(20)
    async with place.sending():
        await place.until_states(delivered=8 * len(ids))
    sent = Counter((request.target, request.event_id) for request in receiver.received())
    assert sent.keys() == {(f"/{number}", event_id) for number in range(8) for event_id in ids}
    repeated = sum(sent.values()) - len(sent)
    # Four under way at each endpoint, and those whose outcomes were being gathered.
    assert repeated <= kills * 8 * 8, repeated
    print(f"{len(sent)} deliveries, {kills} kills, {repeated} sent twice")


async def test_two_processes_send_nothing_twice(place: OutboxPlace, receiver: Receiver) -> None:
    receiver.answer(Answer(delay_seconds=0.002))
    for number in range(8):
        await place.register(receiver.url(f"/{number}"))
    with (
        DispatcherProcess(place.database_url, place.home, idle_seconds=0.05, lease_seconds=60) as one,
        DispatcherProcess(place.database_url, place.home, idle_seconds=0.05, lease_seconds=60) as other,
    ):
        one.wait_until_ready()
        other.wait_until_ready()
        ids: list[str] = []
        for _ in range(20):
            # Endpoints are given back and taken again all the time.
            ids += await place.happen(3)
            await asyncio.sleep(0.08)
        await place.until_states(delivered=8 * len(ids))
        owners = await place.execute("select count(*) as attempts from webhook_attempts")
        for process in (one, other):
            process.send(signal.SIGTERM)
            assert process.wait() == 0
    sent = Counter((request.target, request.event_id) for request in receiver.received())
    assert set(sent.values()) == {1}
    assert len(sent) == owners[0]["attempts"] == 8 * len(ids)


async def test_a_dispatcher_that_was_stopped_for_longer_than_its_lease_sends_nothing_of_what_another_one_has(
    place: OutboxPlace, receiver: Receiver
) -> None:
    await place.register(receiver.url())
    ids = await place.happen(100)
    answers_of_the_first = threading.Event()
    receiver.answer(Answer(), times=20)
    receiver.answer(Answer(held_until=answers_of_the_first), times=4)
    receiver.answer(Answer(delay_seconds=0.1))
    with DispatcherProcess(place.database_url, place.home, **SHORT_LEASE) as stopped:
        # It can begin nothing while four answers are held: it is stopped between two sends, not in the midst of one.
        await receiver.until(24)
        await place.until_states(delivered=20, pending=80)
        stopped.send(signal.SIGSTOP)
        answers_of_the_first.set()
        async with place.sending():
            await receiver.until(24 + 8)
            stopped.send(signal.SIGCONT)
            await place.until_states(delivered=100)
        stopped.send(signal.SIGTERM)
        assert stopped.wait() == 0
    sent = Counter(request.event_id for request in receiver.received())
    assert sent.keys() == set(ids)
    # Those that were under way when it was stopped.
    assert sum(sent.values()) - 100 == 4
    assert receiver.most_in_flight <= 4
    assert await place.states() == {"delivered": 100}


async def test_a_database_that_crashes_under_load_is_waited_for_and_nothing_is_sent_twice(receiver: Receiver) -> None:
    receiver.answer(Answer(delay_seconds=0.01))
    with private_directory() as directory:
        home = directory / "home"
        try:
            await crash_under_load(home, receiver)
        finally:
            left = end_everything(home)
        assert left == []


async def crash_under_load(home: Path, receiver: Receiver) -> None:
    with StackCommand(home) as first:
        answer = await asyncio.to_thread(first.answer)
        async with open_place(answer["database_url"], home.with_name("keys")) as place:
            for number in range(4):
                await place.register(receiver.url(f"/{number}"))
            ids = await place.happen(150)
            async with place.sending():
                await receiver.until(100)
                os.kill(int((home / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                with StackCommand(home) as second:
                    assert (await asyncio.to_thread(second.answer))["started"] == ["postgres"]
                    assert await asyncio.to_thread(second.leave) == 0
                await place.until_states(delivered=600)
                ids += await place.happen(5)
                await place.until_states(delivered=620)
        assert await asyncio.to_thread(first.leave) == 0
    sent = Counter((request.target, request.event_id) for request in receiver.received())
    assert sent == Counter({(f"/{number}", event_id): 1 for number in range(4) for event_id in ids})


async def test_a_lost_connection_for_notifications_is_opened_again(place: OutboxPlace, receiver: Receiver) -> None:
    await place.register(receiver.url())
    # Nothing is found by looking: what is sent has been heard of.
    async with place.sending(limits=Limits(poll_seconds=60)):
        (first,) = await until_listening(place, other_than=None)
        await place.execute("select pg_terminate_backend(%s)", first)
        await until_listening(place, other_than=first)
        await place.happen()
        await place.until_states(delivered=1)


async def until_listening(place: OutboxPlace, *, other_than: int | None) -> list[int]:
    """The process id of the server that serves a listener."""
    found: list[int] = []

    async def look() -> bool:
        rows = await place.execute(
            "select pid from pg_stat_activity where starts_with(query, 'listen') and state = 'idle'"
            " and datname = current_database()"
        )
        found[:] = [row["pid"] for row in rows if row["pid"] != other_than]
        return bool(found)

    await until(look, "somebody listens")
    return found
