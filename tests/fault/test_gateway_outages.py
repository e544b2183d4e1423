"""The gateway while Prefect's server or Postgres stand still or die under load, in a `waybill up` as a user has it.

Clients are told within seconds, ``/health`` goes on answering, everything works again without a restart of the gateway,
and what was acknowledged is there.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.gateway.up import KILLED_IN_PARTS, Up
from tests.stack_driver import PATIENCE_SECONDS, eventually

pytestmark = KILLED_IN_PARTS

FILES, STATUS = "/api/v1/files", "/api/v1/status"
# Clients that do one thing after another: more than there are connections to the database, all of which wait while it
# stands still, and with pauses that leave the processor to what is tested.
CLIENTS, PAUSE_SECONDS = 12, 0.25
OF_FILES = {"upload", "metadata", "download"}
EVERYTHING = {*OF_FILES, "status"}
# A connection, an answer, a second for a look at the other connections; see `waybill.gateway.resources.TIMEOUTS`.
# On a busy machine it comes to twice as much, and to all that the processor was given to others (`Stalls`).
LONGEST_SECONDS = 15.0
UNAVAILABLE = {"PrefectUnavailable", "CatalogUnavailable"}


class Stalls:
    """For how long the gateway's event loop, and the one of these clients, did not get the processor when they could
    have used it."""

    def __init__(self, gateway_pid: int) -> None:
        self._statistics = Path(f"/proc/{gateway_pid}/schedstat")
        self._waited_before = self._waited_seconds()
        self._late_seconds = 0.0

    @property
    def seconds(self) -> float:
        return self._waited_seconds() - self._waited_before + self._late_seconds

    def _waited_seconds(self) -> float:
        """Of the main thread; sched-stats.rst of the kernel. Nothing where the kernel does not count."""
        try:
            return int(self._statistics.read_text().split()[1]) / 1e9
        except FileNotFoundError:
            return 0.0

    async def watch(self) -> None:
        """Measure how late this event loop is, until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.05)
            self._late_seconds += max(0.0, time.monotonic() - began - 0.05)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer that a client got."""

    client: int
    what: str
    status: int
    code: str
    began: float
    seconds: float


@dataclass
class Seen:
    """What clients were answered."""

    stalls: Stalls
    answers: list[Answered] = field(default_factory=list[Answered])
    stored: dict[str, bytes] = field(default_factory=dict[str, bytes])
    health_seconds: list[float] = field(default_factory=list[float])

    def note(self, client: int, what: str, answer: httpx.Response, began: float) -> None:
        code = answer.json()["error"]["code"] if answer.status_code >= 400 else ""
        seconds = time.monotonic() - began
        self.answers.append(
            Answered(client=client, what=what, status=answer.status_code, code=code, began=began, seconds=seconds)
        )

    def asked_since(self, moment: float) -> dict[str, set[int]]:
        """The statuses of what was asked from then on, as far as it was answered."""
        found: dict[str, set[int]] = {}
        for one in self.answers:
            if one.began >= moment:
                found.setdefault(one.what, set()).add(one.status)
        return found

    def clients_since(self, moment: float) -> set[int]:
        """The clients that have had an answer to something that they asked from then on."""
        return {one.client for one in self.answers if one.began >= moment}

    def is_well_since(self, moment: float, kinds: set[str]) -> bool:
        """Whether every client asked for each of *kinds* from then on, and the last answer was what was asked for."""
        last = {(one.client, one.what): one.code for one in self.answers if one.began >= moment}
        return all(last.get((client, what)) == "" for client in range(CLIENTS) for what in kinds)

    def codes(self, *kinds: str) -> set[str]:
        """The codes of refusals, of *kinds* or of all."""
        return {one.code for one in self.answers if one.code and (one.what in kinds or not kinds)}

    def longest(self) -> float:
        return max(one.seconds for one in self.answers)


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str) -> None:
    """Poll until *condition* holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = condition()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < deadline, f"after {PATIENCE_SECONDS:g} s it is still not so that {what}"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def under_load(up: Up) -> AsyncIterator[Seen]:
    """Clients upload, download, look files and runs up all the time, and one looks whether the gateway is alive."""
    seen, ending = Seen(Stalls(up.gateway_pid)), asyncio.Event()
    headers = {"Authorization": f"Bearer {up.key}"}
    async with httpx.AsyncClient(base_url=up.url, headers=headers, timeout=PATIENCE_SECONDS) as client:

        async def ask(number: int, what: str, method: str, path: str, **more: Any) -> httpx.Response:
            began = time.monotonic()
            answer = await client.request(method, path, **more)
            seen.note(number, what, answer, began)
            return answer

        async def one_client(number: int) -> None:
            turn = 0
            while not ending.is_set():
                turn += 1
                content = f"file {number}.{turn} {'x' * 20_000}".encode()
                answer = await ask(number, "upload", "POST", f"{FILES}/upload", files={"file": ("a.txt", content)})
                if answer.status_code == 201:
                    seen.stored[answer.json()["file_id"]] = content
                if seen.stored:
                    file_id = list(seen.stored)[turn % len(seen.stored)]
                    await ask(number, "metadata", "GET", f"{FILES}/metadata/{file_id}")
                    await ask(number, "download", "GET", f"{FILES}/download/{file_id}")
                await ask(number, "status", "GET", f"{STATUS}/{up.run_ids[0]}")
                await asyncio.sleep(PAUSE_SECONDS)

        async def alive() -> None:
            async with httpx.AsyncClient(base_url=up.url, timeout=PATIENCE_SECONDS) as health:
                while not ending.is_set():
                    began = time.monotonic()
                    assert (await health.get("/health")).status_code == 200
                    seen.health_seconds.append(time.monotonic() - began)
                    await asyncio.sleep(0.05)

        tasks = [asyncio.create_task(one_client(number)) for number in range(CLIENTS)]
        tasks.append(asyncio.create_task(alive()))
        watching = asyncio.create_task(seen.stalls.watch())
        try:
            await until(lambda: seen.is_well_since(0, EVERYTHING), "every client gets all that it asks for")
            yield seen
        finally:
            ending.set()
            await asyncio.gather(*tasks)
            watching.cancel()
        for file_id, content in seen.stored.items():
            assert await stored_content(client, file_id) == content
    assert_told_in_time(seen)


async def stored_content(client: httpx.AsyncClient, file_id: str) -> bytes:
    """The content of a file, as soon as the database has the time for it."""
    answers: list[httpx.Response] = []

    async def is_answered() -> bool:
        answers.append(await client.get(f"{FILES}/download/{file_id}"))
        return answers[-1].status_code != 503

    await until(is_answered, "a stored file is answered")
    assert answers[-1].status_code == 200, answers[-1].text
    return answers[-1].content


def assert_told_in_time(seen: Seen) -> None:
    """Nobody has waited long for an answer, and the gateway has always said that it is alive."""
    alive_ms = sorted(round(1000 * seconds, 1) for seconds in seen.health_seconds)
    stalled_seconds = seen.stalls.seconds
    figures: dict[str, Any] = {
        "asked": len(seen.answers),
        "refused": seen.codes(),
        "stalled_seconds": round(stalled_seconds, 2),
        "longest_seconds": round(seen.longest(), 2),
        "health_ms": {part: alive_ms[int(len(alive_ms) * part)] for part in (0.5, 0.95, 0.99)} | {1.0: alive_ms[-1]},
        "stored": len(seen.stored),
    }
    print(figures)
    assert seen.longest() < LONGEST_SECONDS + stalled_seconds
    # What counts is that nothing holds the gateway up, which would be for as long as others are waited for: seconds. On
    # a quiet machine 95 of 100 take under 20 ms; servers start meanwhile, and how quick that leaves it is not tested.
    assert figures["health_ms"][0.95] < 1000 * (1 + stalled_seconds)
    assert figures["health_ms"][1.0] < 1000 * (2.5 + stalled_seconds)
    # What needs no Prefect is never refused for it.
    assert "PrefectUnavailable" not in seen.codes(*OF_FILES)


async def get(up: Up, path: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {up.key}"}
    async with httpx.AsyncClient(base_url=up.url, headers=headers, timeout=PATIENCE_SECONDS) as client:
        return await client.get(path)


async def problems(up: Up, stalls: Stalls) -> set[str]:
    """What is not ready; told within some seconds."""
    began, stalled_before = time.monotonic(), stalls.seconds
    answer = await get(up, "/ready")
    assert time.monotonic() - began < LONGEST_SECONDS + stalls.seconds - stalled_before
    found = {name for name, check in answer.json()["checks"].items() if check["status"] == "problem"}
    assert answer.status_code == (503 if found else 200)
    return found


async def down_in_metrics(up: Up) -> set[str]:
    answer = await get(up, "/metrics")
    assert answer.status_code == 200
    return set(re.findall(r'waybill_up\{dependency="(\w+)"\} 0', answer.text))


async def until_down(up: Up, seen: Seen, *names: str) -> None:
    """Wait until readiness and metrics name these, and no others."""

    async def is_ready_but_for_them() -> bool:
        return await problems(up, seen.stalls) == set(names)

    async def is_measured() -> bool:
        return await down_in_metrics(up) == set(names)

    await until(is_ready_but_for_them, f"{names or 'no'} problems are named")
    await until(is_measured, f"{names or 'none'} are down in the metrics")


async def back(up: Up, seen: Seen) -> None:
    """Wait until everything is ready, and until every client has got all that it asked for after that."""
    await until_down(up, seen)
    ready_at = time.monotonic()
    await until(lambda: seen.is_well_since(ready_at, EVERYTHING), "it is ready, and every client gets what it asks for")


def children(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@contextmanager
def stopped(pid: int, *, with_children: bool = False) -> Iterator[None]:
    # The parent first: no process is missing that it starts meanwhile.
    processes = [psutil.Process(pid)]
    processes[0].suspend()
    if with_children:
        processes += children(pid)
    for process in processes[1:]:
        with suppress(psutil.NoSuchProcess):  # a connection of Postgres that has just been closed
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


async def test_prefect_that_stands_still_is_told_within_seconds_and_files_go_on(up: Up) -> None:
    gateway = up.gateway_pid
    async with under_load(up) as seen:
        with stopped(up.prefect_pid):
            began = time.monotonic()
            # While it stands still: nobody waits for its return.
            await until(lambda: seen.is_well_since(began, OF_FILES), "files go on for every client")
            await until(lambda: refused_since(seen, began, "status") == set(range(CLIENTS)), "every client is told")
            await until_down(up, seen, "prefect")
            assert seen.asked_since(began)["status"] == {503}
        await back(up, seen)
    # The database may be slow on a busy machine; `assert_told_in_time` looks at what was refused for Prefect.
    assert "PrefectUnavailable" in seen.codes("status") and seen.codes() <= UNAVAILABLE
    assert up.gateway_pid == gateway


def refused_since(seen: Seen, moment: float, what: str) -> set[int]:
    """The clients that were refused this, having asked for it from then on."""
    return {one.client for one in seen.answers if one.began >= moment and one.what == what and one.status == 503}


async def test_a_database_that_stands_still_is_told_within_seconds(up: Up) -> None:
    gateway = up.gateway_pid
    async with under_load(up) as seen:
        await until_down(up, seen)
        # Prefect's own database is on the same server.
        with stopped(up.postgres_pid, with_children=True):
            began = time.monotonic()
            # While it stands still: nobody waits for its return.
            await until(lambda: seen.clients_since(began) == set(range(CLIENTS)), "every client is told")
            await until_down(up, seen, "database", "prefect")
            asked = seen.asked_since(began)
        assert {status for statuses in asked.values() for status in statuses} == {503}
        await back(up, seen)
    assert "CatalogUnavailable" in seen.codes() and seen.codes() <= UNAVAILABLE
    assert up.gateway_pid == gateway


def is_replaced(up: Up, server: str, killed: int) -> bool:
    try:
        return killed != (up.prefect_pid if server == "prefect" else up.postgres_pid)
    except (OSError, ValueError, LookupError):  # in the middle of it
        return False


@pytest.mark.parametrize("server", ["prefect", "database"])
async def test_a_server_that_is_killed_comes_back_without_a_restart_of_the_gateway(up: Up, server: str) -> None:
    gateway, killed = up.gateway_pid, up.prefect_pid if server == "prefect" else up.postgres_pid
    async with under_load(up) as seen:
        os.kill(killed, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: is_replaced(up, server, killed), f"the {server} runs again")
        await back(up, seen)
    assert seen.codes() <= UNAVAILABLE
    assert up.gateway_pid == gateway


def test_after_all_of_it_runs_are_started_and_done(up: Up) -> None:
    up.run()
