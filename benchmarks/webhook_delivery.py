"""Webhooks: how many a second, how soon, and what becomes of them while a receiver is down.

Everything is on this machine: Postgres, a receiver in a process of its own, and a dispatcher in another, as `waybill
dispatch` runs it. Measured are sustained deliveries a second to 32 endpoints; the time from the commit of an event to
the first byte of its first attempt, at 200 events a second; and 10,000 events that queue up while their receiver is
down. Beside it stands what people write first: a loop that tries three times and has no memory, on one httpx client.

    python -m benchmarks.webhook_delivery [--rounds 3] [--events 200] [--queued 10000]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg

from blocks.catalog.migrate import migrate
from blocks.settings import Settings
from blocks.webhooks.outbox import Event, add_events
from tests.delivery import DispatcherProcess, OutboxPlace, open_place
from waybill.stack import running_stack

ENDPOINTS = 32
RATE_PER_SECOND = 200
# What a loaded stack makes in its busiest seconds, with room for what else runs on the machine.
MIN_PER_SECOND = 500
MAX_P95_MS = 100.0
# The dispatcher may cost attempts to find out that a receiver is down, but not the attempts of everything that waits.
MAX_WASTED = 100
_PATIENCE_SECONDS = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--events", type=int, default=200, help="events for all endpoints at once")
    parser.add_argument("--queued", type=int, default=10_000, help="events for a receiver that is down")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder,
        running_stack(Settings(home=Path(folder) / "home"), prefect=False) as addresses,
        receiving() as receiver,
    ):
        found: list[dict[str, float]] = []
        for number in range(arguments.rounds):
            url = fresh_database(addresses.database_url, number)
            found.append(asyncio.run(one_round(url, Path(folder), receiver, arguments.events, arguments.queued)))
            print(f"round {number}: { {name: round(value, 1) for name, value in found[-1].items()} }", file=sys.stderr)
    return report(found, arguments.queued)


async def one_round(
    database_url: str, folder: Path, receiver: RemoteReceiver, events: int, queued: int
) -> dict[str, float]:
    """Every figure once, by name."""
    async with open_place(database_url, folder / "keys") as place:
        return {
            "plain loop per second": await plain_loop(receiver, events),
            "plain loop lost": await plain_loop_while_down(receiver),
            "per second": await sustained(place, receiver, events),
            "p95 ms": await latency_p95_ms(place, receiver),
            **await while_down(place, receiver, queued),
        }


# What is measured -----------------------------------------------------------------------------------------------------


async def sustained(place: OutboxPlace, receiver: RemoteReceiver, events: int) -> float:
    """Deliveries a second, from the first that arrives to the last that is recorded as delivered."""
    await forget_everything(place, receiver)
    for number in range(ENDPOINTS):
        await place.register(receiver.url(f"/{number}"))
    for _ in range(events // 10):
        await place.happen(10, data=DATA)
    with dispatcher(place):
        await delivered(place, events * ENDPOINTS)
        ended = time.monotonic()
        arrivals = receiver.arrivals()
    assert len(arrivals) == events * ENDPOINTS, f"{len(arrivals)} arrived"
    return events * ENDPOINTS / (ended - min(at for _, at in arrivals))


async def latency_p95_ms(place: OutboxPlace, receiver: RemoteReceiver) -> float:
    """From commit to arrival, the 95th of a hundred, at `RATE_PER_SECOND` over all endpoints, for five seconds."""
    await forget_everything(place, receiver)
    for number in range(ENDPOINTS):
        await place.register(receiver.url(f"/{number}"), event_types=[f"type-{number}"])
    committed: dict[str, float] = {}
    with dispatcher(place) as process:
        process.wait_until_ready()
        for one in range(5 * RATE_PER_SECOND + ENDPOINTS):
            # The first one to each endpoint opens its connections and is not counted.
            event = new_event(f"type-{one % ENDPOINTS}")
            async with place.catalog.transaction() as connection:
                await add_events(connection, [event], str)
            if one >= ENDPOINTS:
                committed[event.event_id] = time.monotonic()
            await asyncio.sleep(1 / RATE_PER_SECOND)
        await delivered(place, 5 * RATE_PER_SECOND + ENDPOINTS)
        took = [at - committed[event_id] for event_id, at in receiver.arrivals() if event_id in committed]
    assert len(took) == len(committed)
    return statistics.quantiles(took, n=20)[18] * 1000


async def while_down(place: OutboxPlace, receiver: RemoteReceiver, queued: int) -> dict[str, float]:
    """Events queue up while their receiver is down: attempts that were wasted, and how quickly all arrive after it."""
    await forget_everything(place, receiver)
    await place.register(receiver.url("/down"))
    receiver.ask("down")
    with dispatcher(place):
        for _ in range(queued // 100):
            await place.happen(100, data=DATA)
        await asyncio.sleep(3)
        receiver.ask("up")
        back = time.monotonic()
        await delivered(place, queued)
        ended = time.monotonic()
        first = min(at for _, at in receiver.arrivals())
    (row,) = await place.execute("select count(*) - count(distinct delivery_id) as failed from webhook_attempts")
    return {
        "queued: found after s": first - back,
        "queued: per second": queued / (ended - first),
        "queued: wasted attempts": row["failed"],
        "queued: lost": queued - len({event_id for event_id, _ in receiver.arrivals()}),
    }


async def plain_loop(receiver: RemoteReceiver, events: int) -> float:
    """Deliveries a second of the loop, to the same endpoints; nothing is signed and nothing recorded."""
    receiver.ask("forget")
    body = httpx.Request("POST", "http://any", json=DATA).content
    started = time.monotonic()
    async with httpx.AsyncClient() as client:
        for _ in range(events // 4):
            for number in range(ENDPOINTS):
                assert await try_three_times(client, receiver.url(f"/{number}"), body)
    return events // 4 * ENDPOINTS / (time.monotonic() - started)


async def plain_loop_while_down(receiver: RemoteReceiver) -> float:
    """Which part of its events it loses when the receiver is down for a moment, in percent."""
    receiver.ask("down")
    async with httpx.AsyncClient() as client:
        results = [await try_three_times(client, receiver.url("/down"), b"{}") for _ in range(20)]
    receiver.ask("up")
    return 100 * results.count(False) / len(results)


async def try_three_times(client: httpx.AsyncClient, url: str, body: bytes) -> bool:
    for _ in range(3):
        try:
            if (await client.post(url, content=body)).is_success:
                return True
        except httpx.HTTPError:
            continue
    return False


# What it takes --------------------------------------------------------------------------------------------------------

# As large as what tells of a stage.
DATA = {
    "stage": {"number": 3, "name": "chunker", "status": "completed", "execution_time": 0.123, "error_message": None},
    "output_files": [{"filename": "report.chunks.json", "file_id": str(uuid4()), "download_url": "x" * 300}],
    "metadata": {"chunks": 42, "tokens": 9876},
}  # fmt: skip


def new_event(event_type: str) -> Event:
    return Event(
        event_id=f"evt_{uuid4()}",
        event_type=event_type,
        task_id=uuid4(),
        source_file="report.pdf",
        occurred_at=datetime.now(UTC),
        data=DATA,
    )


def fresh_database(database_url: str, number: int) -> str:
    """The URL of an empty, migrated database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"create database bench_{number}".encode())
    fresh = database_url.replace("/waybill?", f"/bench_{number}?")
    migrate(fresh)
    return fresh


def dispatcher(place: OutboxPlace) -> DispatcherProcess:
    """One with the limits that are meant for use."""
    return DispatcherProcess(place.database_url, place.home, poll_seconds=1.0)


async def forget_everything(place: OutboxPlace, receiver: RemoteReceiver) -> None:
    receiver.ask("forget")
    await place.execute("truncate webhook_endpoints, webhook_events cascade")


async def delivered(place: OutboxPlace, count: int) -> None:
    await place.until_states(delivered=count, within=_PATIENCE_SECONDS)


class RemoteReceiver:
    """The scripted receiver of the tests, in another process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._base: str = self.ask("url")

    def url(self, path: str) -> str:
        return self._base + path

    def arrivals(self) -> list[tuple[str, float]]:
        """Event ids and when they came, by the clock that all processes of the machine share."""
        return self.ask("arrivals")

    def ask(self, what: str) -> Any:
        self._pipe.send(what)
        return self._pipe.recv()


@contextmanager
def receiving() -> Iterator[RemoteReceiver]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=receive, args=(theirs,), daemon=True)
    process.start()
    try:
        yield RemoteReceiver(ours)
    finally:
        ours.send("end")
        process.join()


def receive(pipe: Connection) -> None:
    """What the receiver's process does."""
    from tests.webhooks import running_receiver

    with running_receiver() as receiver:
        answers = {
            "url": lambda: receiver.url(""),
            "down": receiver.go_down,
            "up": receiver.come_back,
            "forget": receiver.forget_requests,
            "arrivals": lambda: [(one.event_id, one.arrived_monotonic) for one in receiver.received()],
        }
        while (asked := pipe.recv()) != "end":
            pipe.send(answers[asked]())


def report(rounds: list[dict[str, float]], queued: int) -> int:
    """Print medians of the rounds; 1 when a bar is missed."""
    found = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    missed = [
        found["per second"] < MIN_PER_SECOND,
        found["p95 ms"] > MAX_P95_MS,
        found["queued: wasted attempts"] > MAX_WASTED,
        found["queued: lost"] > 0,
    ]
    print(
        f"{ENDPOINTS} endpoints, receiver and Postgres beside, medians of {len(rounds)}; "
        f"{queued:,} queued while the receiver was down"
    )
    lines = [
        ("deliveries a second", found["per second"], f"bar {MIN_PER_SECOND}"),
        ("  a plain loop, unsigned and unrecorded", found["plain loop per second"], ""),
        (f"commit to first attempt at {RATE_PER_SECOND}/s, p95 in ms", found["p95 ms"], f"bar {MAX_P95_MS:g}"),
        ("receiver down: found again after s", found["queued: found after s"], ""),
        ("  then deliveries a second, to one endpoint", found["queued: per second"], ""),
        ("  attempts that failed", found["queued: wasted attempts"], f"bar {MAX_WASTED}"),
        ("  events lost", found["queued: lost"], "bar 0"),
        ("  a plain loop loses, in percent", found["plain loop lost"], ""),
    ]
    for name, value, bar in lines:
        print(f"{name:44}{value:10,.1f}   {bar}".rstrip())
    print("bars met" if not any(missed) else "a bar was missed")
    return 1 if any(missed) else 0


if __name__ == "__main__":
    sys.exit(main())
