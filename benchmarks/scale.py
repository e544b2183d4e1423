"""What a run of many small documents costs beyond its stages: processor time by side, waits for the disk, rows, memory.

Generated Markdown documents of 2 kB go through `process-documents` on a stack of its own, of this checkout and of
*--baseline*, another checkout with a `.venv` of its own, in turn; then the same once more, where all is reused. With
*--recorded* each stage returns the output of an earlier real run and computes nothing: what is left is Waybill's own.
Prints medians of the rounds and their ratio.

    python -m benchmarks.scale [--documents 1000] [--rounds 3] [--recorded] [--baseline DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.corpus.generated import write_short_documents
from tests.stack_driver import plain_environment

_HOOKS = Path(__file__).parent / "recorded"
_PROGRAM = Path(__file__).parent / "programs" / "measured_run.py"
HERE, BASELINE = "here", "baseline"
# The most that this checkout may cost of the baseline's, by row of the table; and absolute bars.
RATIO_BARS = {"beyond the stages, CPU ms": 0.35, "rows beside the index, kB": 0.5, "all reused, CPU ms": 0.25}
BARS = {"fsyncs": 8.0, "commits": 2.0, "run process, CPU ms": 5.8}

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recorded", action="store_true", help="stages return recorded outputs")
    parser.add_argument("--baseline", type=Path, help="another checkout, with its .venv")
    parser.add_argument("--recordings", type=Path, help="a folder of recorded outputs to use, or to fill")
    arguments = parser.parse_args()
    checkouts = {HERE: Path(sys.executable)}
    if arguments.baseline is not None:
        checkouts[BASELINE] = arguments.baseline.absolute() / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as text:
        folder = Path(text)
        write_short_documents(folder / "documents", arguments.documents)
        # Another document, for the model that a new home builds and for what is imported first.
        write_short_documents(folder / "warm", 1, seed=1)
        hooks: dict[str, str] = {}
        if arguments.recorded:
            hooks = recorded(folder, (arguments.recordings or folder / "recordings").absolute())
        results: dict[str, list[Figures]] = {name: [] for name in checkouts}
        for number in range(arguments.rounds):
            for name, python in checkouts.items():
                home = folder / f"home-{number}-{name}"
                first, again = run(python, home, folder, hooks, again=True)
                results[name].append(figures(first, again, arguments.documents))
                print(f"round {number + 1} {name}: {json.dumps(first)}\n  again: {json.dumps(again)}", file=sys.stderr)
    return report(results, recorded=arguments.recorded)


def recorded(folder: Path, recordings: Path) -> dict[str, str]:
    """Record the outputs of a real run into *recordings*, unless they are there; return the hooks that replay them."""
    needed = [*(folder / "documents").iterdir(), *(folder / "warm").iterdir()]
    if len(list(recordings.glob("*.pickle"))) < len(needed):
        recordings.mkdir(parents=True, exist_ok=True)
        run(Path(sys.executable), folder / "home-recording", folder, {"BENCH_RECORD": str(recordings)})
    return {"BENCH_REPLAY": str(recordings)}


def run(
    python: Path, home: Path, folder: Path, hooks: Mapping[str, str], *, again: bool = False
) -> list[dict[str, Any]]:
    """Process the documents on a new home with the checkout of *python*; return what each of its runs has spent."""
    checkout = python.parent.parent.parent
    environment = {
        **plain_environment(),
        **hooks,
        "PYTHONPATH": f"{_HOOKS}{os.pathsep}{checkout}",
        "BENCH_FSYNCS": str(home.with_suffix(".fsyncs")),
        "PREFECT_LOGGING_TO_CONSOLE": "",
    }
    command = [str(python), str(_PROGRAM), str(home), str(folder / "documents"), "--warm", str(folder / "warm")]
    done = subprocess.run(
        [*command, *(["--again"] if again else [])],
        cwd=checkout,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=home.with_suffix(".log").open("wb"),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{checkout}: {home.with_suffix('.log').read_text()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def figures(first: Mapping[str, Any], again: Mapping[str, Any], documents: int) -> Figures:
    """Return the rows of the table, each per document."""

    def each(seconds: float) -> float:
        return seconds / documents * 1000

    beside = first["database_bytes"] - first["index_bytes"]
    return {
        "run process, CPU ms": each(first["parent"] - first["parent_start"]),
        "run process, start included": each(first["parent"]),
        "workers, CPU ms": each(first["workers"]),
        "Postgres, CPU ms": each(first["postgres"]),
        "Prefect's server, CPU ms": each(first["prefect"]),
        "beyond the stages, CPU ms": each(first["parent"] + first["postgres"] + first["prefect"]),
        "all reused, CPU ms": each(sum(again[name] for name in ("parent", "workers", "postgres", "prefect"))),
        "fsyncs": first["fsyncs"] / documents,
        "commits": first["commits"] / documents,
        "rows beside the index, kB": beside / documents / 1024,
        "rows of the index, kB": first["index_bytes"] / documents / 1024,
        "log of changes (WAL), kB": first["wal_bytes"] / documents / 1024,
        "peak memory of the run, MB": first["peak_bytes"] / 1e6,
        "task runs on record": float(sum(first["task_runs"].values())),
        "wall s": first["wall_seconds"],
    }


def report(results: Mapping[str, list[Figures]], *, recorded: bool) -> int:
    """Print the medians; 1 when a bar is missed."""
    medians = {
        name: {row: statistics.median(one[row] for one in rounds) for row in rounds[0]}
        for name, rounds in results.items()
    }
    is_missed = False
    print(f"per document, stages {'recorded' if recorded else 'real'}".ljust(34) + "".join(f"{n:>12}" for n in medians))
    for row, found in medians[HERE].items():
        line = f"{row:34}" + "".join(f"{values[row]:12.2f}" for values in medians.values())
        if BASELINE in medians and medians[BASELINE][row]:
            ratio = found / medians[BASELINE][row]
            bar = RATIO_BARS.get(row)
            is_missed |= bar is not None and ratio > bar
            line += f"   ratio {ratio:.2f}" + (f" (bar {bar})" if bar is not None else "")
        # What the run process may spend is a bar of what it can carry, where it is not kept waiting for its stages.
        if (limit := BARS.get(row)) is not None and (recorded or row != "run process, CPU ms"):
            is_missed |= found > limit
            line += f"   (bar {limit})"
        print(line)
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
