"""What a run of many small documents costs beyond its stages: processor time by side, waits for the disk, rows, memory.

Generated Markdown documents of 2 kB go through `process-documents` on a stack of its own, of this checkout and of
*--baseline*, another checkout with a `.venv` of its own, in turn; then the same once more, where all is reused. With
*--recorded* each stage returns the output of an earlier real run and computes nothing: what is left is Waybill's own.
Prints medians of the rounds and their ratio.

With *--s3* the same runs once more with its files in an S3 server of its own (OpenStack Swift on loopback).

With *--peers* other libraries run the same recorded outputs in the same session, with a stack of their own where they
need one: a plain loop, LlamaIndex's ingestion pipeline, Haystack, a Dask bag, a Dagster job for each document, and a
Prefect flow for each document.

    python -m benchmarks.scale [--documents 1000] [--rounds 3] [--recorded] [--baseline DIRECTORY] [--s3]
                               [--peers FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.corpus.generated import write_short_documents
from tests.s3 import S3Server, running_s3_server
from tests.stack_driver import plain_environment

_HOOKS = Path(__file__).parent / "recorded"
_PROGRAM = Path(__file__).parent / "programs" / "measured_run.py"
_PEERS_PROGRAM = Path(__file__).parent / "programs" / "scale_peers.py"
PACKAGES = "llama-index-core==0.14.25 haystack-ai==3.4.1 dagster==1.13.6 dask[bag]==2026.8.0"
# Documents of each, since some take long; and how many times better a run must be, by CPU beyond the stages.
PEERS = {"plain loop": 1000, "llama-index": 300, "haystack": 300, "dask": 1000, "dagster": 60, "prefect": 60}
PEER_BARS = {"dagster": 10.0, "prefect": 20.0}
HERE, BASELINE, S3 = "here", "baseline", "S3"
# The most that this checkout may cost of the baseline's, by row of the table; and absolute bars.
RATIO_BARS = {"beyond the stages, CPU ms": 0.35, "rows beside the index, kB": 0.5, "all reused, CPU ms": 0.25}
BARS = {"fsyncs": 8.0, "commits": 2.0, "run process, CPU ms": 5.8}
# The most that storage in S3 may cost of what a folder costs, and the most requests for a document.
S3_RATIO_BARS = {"the run's processes, CPU ms": 1.5}
S3_BARS = {"requests to S3": 7.0}

Figures = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recorded", action="store_true", help="stages return recorded outputs")
    parser.add_argument("--baseline", type=Path, help="another checkout, with its .venv")
    parser.add_argument("--recordings", type=Path, help="a folder of recorded outputs to use, or to fill")
    parser.add_argument("--s3", action="store_true", help="also with files in S3")
    parser.add_argument("--peers", type=Path, help="the environment of the other libraries; made where it is missing")
    arguments = parser.parse_args()
    python = Path(sys.executable)
    ways: dict[str, tuple[Path, Mapping[str, str]]] = {HERE: (python, {})}
    if arguments.baseline is not None:
        ways[BASELINE] = (arguments.baseline.absolute() / ".venv" / "bin" / "python", {})
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as text, ExitStack() as servers:
        folder = Path(text)
        write_short_documents(folder / "documents", arguments.documents)
        # Another document, for the model that a new home builds and for what is imported first.
        write_short_documents(folder / "warm", 1, seed=1)
        hooks: dict[str, str] = {}
        if arguments.recorded or arguments.peers:
            hooks = recorded(folder, (arguments.recordings or folder / "recordings").absolute())
        if arguments.s3:
            ways[S3] = (python, in_s3(servers.enter_context(running_s3_server())))
        results: dict[str, list[Figures]] = {name: [] for name in ways}
        for number in range(arguments.rounds):
            for name, (of_checkout, storage) in ways.items():
                home = folder / f"home-{number}-{name}"
                first, again = run(of_checkout, home, folder, {**hooks, **storage}, again=True)
                results[name].append(figures(first, again, arguments.documents))
                print(f"round {number + 1} {name}: {json.dumps(first)}\n  again: {json.dumps(again)}", file=sys.stderr)
        peers = measure_peers(arguments.peers, folder, hooks["BENCH_REPLAY"]) if arguments.peers else {}
    return max(report(results, recorded=bool(hooks)), report_peers(peers, results))


def in_s3(server: S3Server) -> dict[str, str]:
    """Return the variables with which files go to a new bucket of *server*, encrypted as in a folder."""
    return {
        "WAYBILL_STORAGE_URL": f"s3://{server.new_bucket()}/store",
        "WAYBILL_STORAGE_OPTIONS": json.dumps(server.options),
    }


def measure_peers(environment: Path, folder: Path, recordings: str) -> dict[str, float]:
    """Return the CPU milliseconds per document of each peer, with those of the server that it needs."""
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES.split()], check=True)
    found: dict[str, float] = {}
    for peer, most in PEERS.items():
        documents = folder / f"documents-{peer}"
        documents.mkdir()
        chosen = sorted((folder / "documents").iterdir())[:most]
        for path in chosen:
            (documents / path.name).symlink_to(path)
        needs_stack = peer == "prefect"
        program = [sys.executable if needs_stack else str(python), str(_PEERS_PROGRAM)]
        program += [peer, str(documents), recordings, str(folder / f"output-{peer}")]
        if needs_stack:
            (spent,) = run(Path(sys.executable), folder / "home-peer", folder, {}, instead=program)
            seconds = spent["parent"] + spent["workers"] + spent["prefect"] + spent["postgres"]
        else:
            watching = [sys.executable, str(_PROGRAM), "--watched", *program]
            done = subprocess.run(watching, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            seconds = json.loads(done.stdout.splitlines()[-1])["seconds"]
        found[peer] = seconds / len(chosen) * 1000
        print(f"{peer}: {found[peer]:.1f} ms per document", file=sys.stderr)
    return found


def recorded(folder: Path, recordings: Path) -> dict[str, str]:
    """Record the outputs of a real run into *recordings*, unless they are there; return the hooks that replay them."""
    needed = [*(folder / "documents").iterdir(), *(folder / "warm").iterdir()]
    if len(list(recordings.glob("*.pickle"))) < len(needed):
        recordings.mkdir(parents=True, exist_ok=True)
        run(Path(sys.executable), folder / "home-recording", folder, {"BENCH_RECORD": str(recordings)})
    return {"BENCH_REPLAY": str(recordings)}


def run(
    python: Path,
    home: Path,
    folder: Path,
    hooks: Mapping[str, str],
    *,
    again: bool = False,
    instead: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Process the documents on a new home with the checkout of *python*; return what each of its runs has spent.

    *instead* is another program in place of the run.
    """
    checkout = python.parent.parent.parent
    environment = {
        **plain_environment(),
        **hooks,
        "PYTHONPATH": f"{_HOOKS}{os.pathsep}{checkout}",
        "BENCH_FSYNCS": str(home.with_suffix(".fsyncs")),
        "BENCH_REQUESTS": str(home.with_suffix(".requests")),
        "PREFECT_LOGGING_TO_CONSOLE": "",
    }
    command = [str(python), str(_PROGRAM), str(home), str(folder / "documents")]
    command += ["--instead", *instead] if instead else ["--warm", str(folder / "warm")]
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
        "the run's processes, CPU ms": each(first["parent"] + first["workers"]),
        "requests to S3": first["requests"] / documents,
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
        if S3 in medians:
            line, misses = compare_s3(line, row, medians[S3][row], found)
            is_missed |= misses
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


def compare_s3(line: str, row: str, in_s3: float, here: float) -> tuple[str, bool]:
    """Return *line* with the bars that *row* has for files in S3, and whether one is missed."""
    ratio_bar, bar = S3_RATIO_BARS.get(row), S3_BARS.get(row)
    if ratio_bar is not None:
        line += f"   S3 ratio {in_s3 / here:.2f} (bar {ratio_bar})"
    if bar is not None:
        line += f"   (bar in S3 {bar})"
    return line, (ratio_bar is not None and in_s3 > ratio_bar * here) or (bar is not None and in_s3 > bar)


def report_peers(peers: Mapping[str, float], results: Mapping[str, list[Figures]]) -> int:
    """Print what peers spend, and how many times as much that is; 1 when a bar is missed."""
    if not peers:
        return 0
    rows = ("run process, start included", "workers, CPU ms", "Postgres, CPU ms", "Prefect's server, CPU ms")
    ours = statistics.median(sum(one[row] for row in rows) for one in results[HERE])
    print(f"\n{'all processes, CPU ms per document':40}\n{'Waybill: custody, history, reuse':40}{ours:10.2f}")
    is_missed = False
    for peer, found in peers.items():
        bar = PEER_BARS.get(peer)
        is_missed |= bar is not None and found / ours < bar
        print(f"{peer:40}{found:10.2f}   {found / ours:6.2f} times" + (f" (bar {bar})" if bar else ""))
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
