"""What a second machine adds: the documents a second of one run on one worker, and on two, in network namespaces.

The services of `deploy/compose.yaml` run without containers, each on a host of its own. Each worker of Prefect may use
a fixed share of a core (*--cores*, by a control group), so that two of them, Postgres and Prefect's server find room on
a machine with two cores: what is compared is one such machine with two of them. Generated Markdown documents of 2 kB go
through all stages with `waybill process --spread`, the number of workers in turn. The time is that from the first slice
that a worker begins to the last that ends. Needs root, and the control group of processor time. Exit code 1 when the
bar is missed.

    python -m benchmarks.many_machines [--documents 240] [--slice-size 30] [--cores 0.4] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from deploy.without_containers import Copy, Topology, running
from tests.corpus.generated import write_short_documents

# Two workers are to be so much faster than one.
BAR = 1.8
POOL = "documents"
_GROUPS = Path("/sys/fs/cgroup")
_PERIOD_MICROSECONDS = 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=240)
    parser.add_argument("--slice-size", type=int, default=30)
    parser.add_argument("--cores", type=float, default=0.4, help="the share of a core that each worker may use")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as text:
        folder = Path(text)
        # The account of the database server has to reach its cluster.
        folder.chmod(0o755)
        with running(folder, {"gateway": 0, "dispatcher": 0, "worker": 0}) as topology:
            prepare(topology, arguments.slice_size)
            workers = [topology.add("slice-worker") for _ in range(2)]
            # A new home builds the embedding model: not a part of what is measured.
            for number, worker in enumerate(workers):
                with working(topology, [worker], arguments.cores):
                    process(topology, arguments.slice_size, seed=number + 1)
            for number in range(arguments.rounds):
                for count, found in rates.items():
                    with working(topology, workers[:count], arguments.cores):
                        seed = 10 + 2 * number + count
                        found.append(process(topology, arguments.documents, seed=seed))
                    print(f"round {number + 1}, {count} of 2 workers: {found[-1]:.2f} documents/s", file=sys.stderr)
    one, two = (statistics.median(found) for found in rates.values())
    print(f"each worker {arguments.cores:g} of a core, {arguments.documents} documents of 2 kB, medians")
    print(f"one worker   {one:6.2f} documents/s")
    print(f"two workers  {two:6.2f} documents/s   {two / one:.2f} times (bar {BAR})")
    return 0 if two / one >= BAR else 1


def prepare(topology: Topology, slice_size: int) -> None:
    """Add a pool for slices, workers that take one of them at a time, and a host for the command."""
    services = topology.services
    more = {"WAYBILL_SLICE_SIZE": str(slice_size), "PREFECT_WORKER_QUERY_SECONDS": "1", "WAYBILL_WORKERS": "2"}
    worker = {**services["worker"], "environment": {**services["worker"]["environment"], **more}}
    services["slice-worker"] = {**worker, "command": f"prefect worker start --pool {POOL} --limit 1"}
    services["command"] = dict(worker)
    services["make-pool"] = {**worker, "command": f"prefect work-pool create {POOL} --type process"}
    make_pool = topology.add("make-pool")
    if topology.start(make_pool).wait():
        raise RuntimeError(topology.log(make_pool)[-2000:])
    topology.add("command")


@contextmanager
def working(topology: Topology, workers: list[Copy], cores: float) -> Iterator[None]:
    """Run these workers, each with *cores*, for the length of the block."""
    for worker in workers:
        limit(topology.start(worker).pid, worker.namespace, cores)
    try:
        yield
    finally:
        for worker in workers:
            topology.stop(worker)
            group_of(worker.namespace).rmdir()


def group_of(name: str) -> Path:
    """Return the control group *name* of processor time: in the hierarchy of its own, or in the common one."""
    return (_GROUPS / "cpu" if (_GROUPS / "cpu").is_dir() else _GROUPS) / name


def limit(pid: int, name: str, cores: float) -> None:
    """Move the process *pid* into a group that may use so many *cores*, with all that it will start."""
    group = group_of(name)
    group.mkdir(exist_ok=True)
    quota = int(cores * _PERIOD_MICROSECONDS)
    if (group / "cpu.cfs_quota_us").exists():
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS))
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    else:
        (group / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
    (group / "cgroup.procs").write_text(str(pid))


def process(topology: Topology, documents: int, *, seed: int) -> float:
    """Process so many new documents with the workers that run; return documents per second."""
    (command,) = topology.copies_of("command")
    sources = topology.folder / f"documents-{seed}"
    write_short_documents(sources, documents, seed=seed)
    report = f"report-{uuid4()}.json"
    words = f"waybill process {sources} --spread {POOL} --json"
    topology.services["command"]["command"] = f"sh -c '{words} > $WAYBILL_HOME/{report}'"
    code = topology.start(command).wait()
    text = (topology.folder / "homes" / command.name / report).read_text()
    if code:
        raise RuntimeError(f"{text[-2000:]}\n{topology.log(command)[-2000:]}")
    counts = json.loads(text)["counts"]
    if (counts["documents"], counts["failed"]) != (documents, 0):
        raise RuntimeError(f"not all documents were processed: {counts}")
    return documents / seconds_of_last_run(topology)


def seconds_of_last_run(topology: Topology) -> float:
    """Return how long workers had slices of the last run: from the first file that was stored to the last slice."""
    (postgres,) = topology.copies_of("postgres")
    url = make_conninfo(
        host=postgres.address, user="waybill", dbname="waybill", password=topology.values["POSTGRES_PASSWORD"]
    )
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """
            select extract(epoch from max(s.ended_at) - min(a.created_at))
              from slices s join run_outputs o on o.run_id = s.parent_id join artifacts a on a.file_id = o.file_id
             where s.parent_id = (select parent_id from slices order by created_at desc limit 1)
            """
        ).fetchone()
    assert row is not None
    return float(row[0])


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("network namespaces take root")
    sys.exit(main())
