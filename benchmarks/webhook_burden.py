"""How much longer a run takes with a webhook that never answers than without any.

40 generated documents through the first two stages as a `process-documents` run on a real Prefect server, with a
dispatcher beside it as `waybill process` has it: without a webhook, with a receiver that answers at once, and with one
that takes everything and never says a word. Each round on an empty catalogue, the three ways in turn. Prints medians
and the milliseconds per event by which a run is longer; exit code 1 when the bar is missed.

    python -m benchmarks.webhook_burden [--documents 40] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.orchestration import with_fresh_database
from blocks.settings import Settings, current_settings
from tests.corpus.generated import write_documents
from tests.webhooks import BLACK_HOLE, running_receiver
from waybill.stack import running_stack

NONE, ANSWERING, HOLE = "no webhook", "a receiver that answers", "a black hole"
MAX_MS_PER_EVENT = 50.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder:
        documents = Path(folder) / "documents"
        documents.mkdir()
        write_documents(documents, arguments.documents)
        # The receivers are on this machine.
        os.environ["WAYBILL_ALLOW_PRIVATE_WEBHOOKS"] = "loopback"
        with running_stack(Settings(home=Path(folder) / "home")) as addresses:
            results, events = measure(documents, addresses.database_url, arguments.rounds)
    return report(results, events)


def measure(documents: Path, database_url: str, rounds: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of each way, and how many events one run has."""
    results: dict[str, list[float]] = {NONE: [], ANSWERING: [], HOLE: []}
    events = 0
    for number in range(rounds + 1):
        for place, name in enumerate(results):
            with_fresh_database(database_url, f"burden_{number}_{place}")
            with running_receiver() as receiver:
                if name == HOLE:
                    receiver.answer(BLACK_HOLE)
                seconds = asyncio.run(one_run(documents, None if name == NONE else receiver.url()))
            if number:  # the first round builds what is built once
                results[name].append(seconds)
            print(f"round {number} {name}: {seconds:.2f} s", file=sys.stderr)
        with psycopg.connect(current_settings().required_database_url) as connection:
            row = connection.execute("select count(*) from webhook_deliveries").fetchone()
            events = int(row[0]) if row else 0
    return results, events


async def one_run(documents: Path, webhook_url: str | None) -> float:
    """Seconds of the run itself; what is still due at its end is not waited for."""
    from blocks.webhooks.dispatch import DispatcherThread
    from flows.process import process_documents

    async with DispatcherThread.open(replace(current_settings(), webhook_drain_seconds=0.0)):
        started = time.perf_counter()
        state: Any = await process_documents(  # type: ignore[misc]
            sources=[str(documents)], stages=[1, 2], webhook_url=webhook_url, return_state=True
        )
        seconds = time.perf_counter() - started
    assert state.is_completed(), state
    return seconds


def report(results: dict[str, list[float]], events: int) -> int:
    median = {name: statistics.median(values) for name, values in results.items()}
    print(f"{events} events a run, medians of {len(results[NONE])}:")
    good = True
    for name, seconds in median.items():
        longer = 1000 * (seconds - median[NONE]) / events
        held = longer <= MAX_MS_PER_EVENT
        good &= held
        print(
            f"  {name:24} {seconds:6.2f} s   {longer:+6.2f} ms per event   "
            f"bar {MAX_MS_PER_EVENT:.0f}: {'held' if held else 'MISSED'}"
        )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
