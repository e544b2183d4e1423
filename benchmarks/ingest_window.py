"""What many small uploads a second cost: flow runs, the time of the answers, the time until each is done, and CPU.

Clients send documents of 2 kB to the gateway of a real `waybill up`, at a fixed rate, and then wait for the last one.
With ``--window 0`` each upload has a run of its own, as before uploads shared runs: that takes many times longer.

    python -m benchmarks.ingest_window [--rate 50] [--seconds 30] [--stages 1-3] [--window 0.05]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import httpx
import psutil

from tests.gateway.up import Up, running_up

_ENDED = frozenset({"completed", "failed", "cancelled", "crashed"})
_WORDS = "The pump in hall %d was inspected on 3 May 2026 and runs at 1450 revolutions a minute. "
# A machine that is busy with other work takes its time.
_PATIENCE_SECONDS = 1800.0
# The answers after which an upload was sent again.
_again: list[int] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--stages", default="1-3")
    parser.add_argument("--window", type=float, default=0.05)
    given = parser.parse_args()
    os.environ["WAYBILL_INGEST_WINDOW_SECONDS"] = str(given.window)
    with running_up() as up:
        up.run()  # imports, models, caches
        asyncio.run(_measure(up, given.rate, given.seconds, given.stages))


async def _measure(up: Up, rate: float, seconds: float, stages: str) -> None:
    count = round(rate * seconds)
    headers = {"Authorization": f"Bearer {up.key}"}
    async with httpx.AsyncClient(base_url=f"{up.url}/api/v1", headers=headers, timeout=_PATIENCE_SECONDS) as client:
        began, processes = time.monotonic(), _CpuOf(up)
        with processes.counted():
            sending = [asyncio.create_task(_send(client, n, began + n / rate, stages)) for n in range(count)]
            answers = [await one for one in sending]
            sent_seconds = time.monotonic() - began
            done = [await _wait(client, task_id) for task_id, _ in answers]
        all_seconds = time.monotonic() - began
    runs = {str(status["run_id"]) for status in done}
    took = [_took(status) for status in done]
    print(f"{count} uploads of 2 kB, sent in {sent_seconds:.1f} s, all done after {all_seconds:.1f} s")
    print(f"  flow runs            {len(runs)} ({len(runs) / sent_seconds:.2f} a second of sending)")
    print(f"  answer, ms           {_quantiles([1000 * one for _, one in answers])}")
    print(f"  upload to end, s     {_quantiles(took)}")
    print(f"  CPU, ms per upload   {1000 * processes.seconds / count:.0f}")
    print(f"  sent again           {len(_again)}")
    states = {state: sum(status["status"] == state for status in done) for state in sorted(_ENDED)}
    print(f"  ends                 { ({state: number for state, number in states.items() if number}) }")


async def _send(client: httpx.AsyncClient, number: int, at: float, stages: str) -> tuple[str, float]:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    content = f"# Report {number}\n\n".encode() + (_WORDS % number).encode() * 24
    began = time.monotonic()
    files = {"file": (f"report-{number}.md", content)}
    headers = {"Idempotency-Key": f"report-{number}"}
    while True:
        answer = await client.post("/ingest/file", files=files, data={"stages": stages}, headers=headers)
        if answer.status_code == httpx.codes.ACCEPTED:
            return str(answer.json()["task_id"]), time.monotonic() - began
        # The gateway is full, or Prefect was slow: clients send again.
        _again.append(answer.status_code)
        await asyncio.sleep(float(answer.headers.get("retry-after", "1")))


async def _wait(client: httpx.AsyncClient, task_id: str) -> dict[str, str]:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        status = (await client.get(f"/status/{task_id}")).json()
        if status["status"] in _ENDED:
            return status
        await asyncio.sleep(1.0)
    raise TimeoutError(f"upload {task_id} is not done after {_PATIENCE_SECONDS:.0f} s")


def _took(status: dict[str, str]) -> float:
    return (datetime.fromisoformat(status["ended_at"]) - datetime.fromisoformat(status["created_at"])).total_seconds()


def _quantiles(values: Sequence[float]) -> str:
    cuts = statistics.quantiles(values, n=100)
    return f"median {cuts[49]:.1f}, 95 % {cuts[94]:.1f}, 99 % {cuts[98]:.1f}, most {max(values):.1f}"


class _CpuOf:
    """The processor time of everything that belongs to an `up`: also of runs that have ended, and of Postgres."""

    def __init__(self, up: Up) -> None:
        self._roots = [psutil.Process(os.getpid()), psutil.Process(up.postgres_pid)]
        self.seconds = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        before, own = self._now(), sum(psutil.Process().cpu_times()[:2])
        yield
        # The sender's own time is no part of it.
        self.seconds = self._now() - before - (sum(psutil.Process().cpu_times()[:2]) - own)

    def _now(self) -> float:
        """Return the time that living processes have used, with that of their children that have ended."""
        found: dict[int, psutil.Process] = {}
        for root in self._roots:
            found |= {one.pid: one for one in (root, *root.children(recursive=True))}
        return sum(sum(one.cpu_times()[:4]) for one in found.values())


if __name__ == "__main__":
    main()
