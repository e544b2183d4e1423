"""One run of `process-documents` in a checkout, with what each side of it spends; run by `benchmarks.scale`.

    measured_run.py HOME FOLDER [--again]        starts the stack, runs, and prints one JSON list
    measured_run.py HOME FOLDER --instead ...    the same with another program in place of the run
    measured_run.py --watched COMMAND...         runs a command and counts the processor time of all that it starts
    measured_run.py --flow FOLDER                the run itself

Imports of the project only what every checkout since the first release has.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# prctl(2): a process whose parent has ended becomes this program's child, so that its time is counted.
_PR_SET_CHILD_SUBREAPER = 36
_SETTLE_SECONDS = 120.0
_INDEX_TABLES = ("indexed_documents", "indexed_chunks", "indexed_facts", "indexed_entities", "indexed_keywords")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--again", action="store_true", help="run a second time: all is reused")
    parser.add_argument("--warm", type=Path, help="a folder to process first, uncounted")
    parser.add_argument("--instead", nargs="+", help="a program with its arguments that runs the documents")
    if sys.argv[1] == "--watched":
        return watched(sys.argv[2:])
    if sys.argv[1] == "--flow":
        return flow(Path(sys.argv[2]))
    arguments = parser.parse_args()
    from blocks.settings import Settings
    from waybill.stack import running_stack

    with running_stack(Settings(home=arguments.home)) as addresses:
        if arguments.warm is not None:
            _run(_flow_command(arguments.warm))
        command = arguments.instead or _flow_command(arguments.folder)
        results = [measured(command, addresses.database_url)]
        if arguments.again:
            results.append(measured(command, addresses.database_url))
    print(json.dumps(results))
    return 0


def measured(command: list[str], database_url: str) -> dict[str, Any]:
    """Run the documents once with *command*; return processor seconds by side, counts and sizes."""
    before = _state(database_url)
    started = time.perf_counter()
    run = _run(command)
    wall = time.perf_counter() - started
    recorded = _task_runs(database_url, run["run_id"]) if run["run_id"] else {}
    after = _state(database_url)
    spent = {name: after[name] - before[name] for name in before}
    files = _files(database_url, run["run_id"]) if run["run_id"] else {}
    return {**run, **spent, "wall_seconds": wall, "task_runs": recorded, "files": files}


def _flow_command(folder: Path) -> list[str]:
    return [sys.executable, __file__, "--flow", str(folder)]


def _run(command: list[str]) -> dict[str, Any]:
    watching = [sys.executable, __file__, "--watched"]
    done = subprocess.run([*watching, *command], stdout=subprocess.PIPE, check=True, text=True)
    *_, own_line, watched_line = done.stdout.splitlines()
    inside, outside = json.loads(own_line), json.loads(watched_line)
    return {**inside, "workers": outside["seconds"] - inside["parent"]}


def watched(command: list[str]) -> int:
    """Run *command*, wait for all that it leaves, and print their processor time."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    code = subprocess.run(command, check=False).returncode
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": spent.ru_utime + spent.ru_stime}), flush=True)
    return code


def flow(folder: Path) -> int:
    """Run the flow in this process, and print its processor time, and its memory as documents were finished."""
    from flows.process import process_documents
    from flows.processing.progress import progress_listener

    started = _own_seconds()
    memory: dict[int, int] = {}
    first: list[float] = []

    def listen(progress: Any) -> None:
        memory[progress.finished] = _resident_bytes()
        if progress.finished and not first:
            first.append(_own_seconds())

    progress_listener.set(listen)
    given: dict[str, Any] = {"sources": [str(folder)]}
    if (last := os.environ.get("BENCH_STAGES")) is not None:
        given["stages"] = list(range(1, int(last) + 1))
    if (options := os.environ.get("BENCH_OPTIONS")) is not None:
        given["options"] = json.loads(options)
    state: Any = asyncio.run(process_documents(**given, return_state=True))  # pyright: ignore[reportArgumentType]
    if not state.is_completed():
        raise RuntimeError(f"the run ended as {state.name}: {state.message}")
    report = asyncio.run(state.aresult())
    result = {
        "run_id": report["run_id"],
        "parent": _own_seconds(),
        "parent_start": started,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "memory": sorted(memory.items())[:: max(1, len(memory) // 200)],
    }
    print(json.dumps(result), flush=True)
    return 0


def _own_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _state(database_url: str) -> dict[str, float]:
    """Return counters that only grow: processor seconds of the servers, commits, bytes and fsyncs."""
    import psycopg

    with psycopg.connect(database_url, autocommit=True) as connection:
        # What was deleted and updated is free for the next rows; without this a size depends on when that was noticed.
        connection.execute("vacuum")
        connection.execute("select pg_stat_force_next_flush()")
        found = connection.execute(
            "select xact_commit, pg_database_size(datname), pg_current_wal_lsn() - '0/0'::pg_lsn from pg_stat_database"
            " where datname = current_database()"
        ).fetchone()
        assert found is not None
        (index_bytes,) = connection.execute(
            "select sum(pg_total_relation_size(name::regclass)) from unnest(%s::text[]) name", [list(_INDEX_TABLES)]
        ).fetchone() or (0,)
    counts = {name.lower(): _size(os.environ.get(f"BENCH_{name}")) for name in ("FSYNCS", "REQUESTS")}
    return {
        **_servers(),
        **counts,
        "commits": float(found[0]),
        "database_bytes": float(found[1]),
        "wal_bytes": float(found[2]),
        "index_bytes": float(index_bytes),
    }


def _size(path: str | None) -> float:
    return float(Path(path).stat().st_size) if path and Path(path).exists() else 0.0


def _servers() -> dict[str, float]:
    """Return the processor seconds of the servers that this process has started, with those of their dead children."""
    import psutil

    seconds = {"postgres": 0.0, "prefect": 0.0}
    for child in psutil.Process().children():
        name = "postgres" if "postgres" in child.name() else "prefect"
        for process in (child, *child.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds[name] += times.user + times.system + times.children_user + times.children_system
    return seconds


def _files(database_url: str, run_id: str) -> dict[str, int]:
    """Return how many files of the run are in the catalogue, by state."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "select state, count(*) from artifacts where run_id = %s group by 1", [run_id]
        ).fetchall()
    return {str(state): int(count) for state, count in rows}


def _task_runs(database_url: str, run_id: str) -> Mapping[str, int]:
    """Return how many task runs of the flow run Prefect has on record, by state, once none is added for a while."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        names = [str(row[0]) for row in connection.execute("select datname from pg_database")]
        ours = connection.info.dbname
    name = next(one for one in names if one in {"prefect", f"{ours}_prefect"})
    counts: dict[str, int] = {}
    deadline = time.monotonic() + _SETTLE_SECONDS
    since = time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 3.0:
        with psycopg.connect(database_url, dbname=name) as connection:
            rows = connection.execute(
                "select coalesce(state_type::text, 'none'), count(*) from task_run where flow_run_id = %s group by 1",
                [run_id],
            ).fetchall()
        found = {str(state): int(count) for state, count in rows}
        if found != counts:
            counts, since = found, time.monotonic()
        time.sleep(0.5)
    return counts


if __name__ == "__main__":
    sys.exit(main())
