"""How one run grows: what a document costs, and what memory the run takes, with few documents and with many.

Generated Markdown documents of 2 kB go through `process-documents`, each number of them on a stack of its own, with
real stages or, with *--recorded*, with the outputs of an earlier run. Prints for each number: documents per CPU second
of all processes, the rise of the run's memory from its 1,000th document to its last, the task runs that Prefect has on
record of those that the run was planned with, and files in custody by state. For numbers that would take hours,
*--without-vectors* leaves out what takes most of the time of the stages, and *--stages 1* all but the first stage. Exit
code 1 when a bar is missed.

    python -m benchmarks.scale_growth [--documents 1000 10000] [--without-vectors] [--stages 1] [--recorded FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scale import recorded, run
from blocks.settings import Settings
from flows.processing.batch import ShardPlan
from tests.corpus.generated import write_short_documents

# At least so many documents per CPU second of those with the smallest number; and at most so much more memory.
LEAST_SPEED_RATIO = 0.95
MOST_MEMORY_RISE_MB = 150.0
# The memory is compared from here: until then the run imports, and fills its caches.
FROM_DOCUMENT = 1000
STAGES = 5


@dataclass(frozen=True, kw_only=True)
class Grown:
    """One run: *planned* and *on_record* are task runs."""

    documents: int
    per_cpu_second: float
    parent_ms: float
    rise_mb: float
    peak_mb: float
    planned: int
    on_record: int
    files: Mapping[str, int]
    wall_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--stages", type=int, default=STAGES, help="how many stages run, from the first one on")
    parser.add_argument("--without-vectors", action="store_true", help="passages get no vectors")
    parser.add_argument("--recorded", type=Path, help="a folder of recorded outputs to use, or to fill")
    arguments = parser.parse_args()
    found: list[Grown] = []
    for documents in arguments.documents:
        with tempfile.TemporaryDirectory(prefix="waybill-bench-") as text:
            folder = Path(text)
            write_short_documents(folder / "documents", documents)
            write_short_documents(folder / "warm", 1, seed=1)
            hooks = {} if arguments.recorded is None else recorded(folder, arguments.recorded.absolute())
            hooks["BENCH_STAGES"] = str(arguments.stages)
            if arguments.without_vectors:
                hooks["BENCH_OPTIONS"] = json.dumps({"chunker": {"embeddings": False}, "ingestor": {"vectors": False}})
            (spent,) = run(Path(sys.executable), folder / "home", folder, hooks)
        found.append(grown(spent, documents, arguments.stages))
        print(f"{documents}: {found[-1]}", file=sys.stderr)
    return report(found, arguments.stages)


def grown(spent: Mapping[str, Any], documents: int, stages: int) -> Grown:
    seconds = sum(spent[name] for name in ("parent", "workers", "postgres", "prefect"))
    memory = [(int(finished), float(resident)) for finished, resident in spent["memory"]]
    early = next((resident for finished, resident in memory if finished >= FROM_DOCUMENT), memory[-1][1])
    return Grown(
        documents=documents,
        per_cpu_second=documents / seconds,
        parent_ms=spent["parent"] / documents * 1000,
        rise_mb=(memory[-1][1] - early) / 1e6,
        peak_mb=spent["peak_bytes"] / 1e6,
        planned=ShardPlan.of(documents, Settings(home=Path(os.devnull))).shards * (stages + 1),
        on_record=spent["task_runs"].get("COMPLETED", 0),
        files=spent["files"],
        wall_seconds=spent["wall_seconds"],
    )


def report(found: Sequence[Grown], stages: int) -> int:
    """Print a line for each run; 1 when a bar is missed."""
    print(
        f"stages 1 to {stages}; the bars: {LEAST_SPEED_RATIO} of the documents per CPU second of the first line, a rise"
    )
    print(f"of {MOST_MEMORY_RISE_MB:g} MB, every planned task run on record, {stages + 1} files of each document\n")
    print("documents  per CPU s  ratio  parent ms  rise MB  peak MB  task runs        files     wall s")
    is_missed = False
    for one in found:
        ratio = one.per_cpu_second / found[0].per_cpu_second
        is_missed |= ratio < LEAST_SPEED_RATIO or one.rise_mb > MOST_MEMORY_RISE_MB
        is_missed |= one.on_record != one.planned or one.files != {"available": (stages + 1) * one.documents}
        print(
            f"{one.documents:9,}  {one.per_cpu_second:9.2f}  {ratio:5.2f}  {one.parent_ms:9.2f}  {one.rise_mb:7.1f}"
            f"  {one.peak_mb:7.1f}  {one.on_record:,} of {one.planned:,}  {one.files}  {one.wall_seconds:9.1f}"
        )
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
