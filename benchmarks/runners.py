"""What a job costs the process of a run: in processes of its own, and on a Dask cluster of this machine.

The stage does next to nothing (it writes a text in capitals), so what is measured is handing over: the job, its 4 KiB
of input, the sealed output, the report. Processor time of the process of the run, not of its workers; the two runners
in turn, three times each.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from tasks.job import Job

JOBS = 2000
# As many as two shards have at a time.
AT_ONCE = 200
ROUNDS = 3
TEXT = "A report of the railway's works.\n" * 124


def main() -> int:
    """Print processor time and duration of each round, and the medians."""
    os.environ["WAYBILL_EXTRA_STAGES"] = "tests.stages.hostile:HOSTILE"
    os.environ["PYTHONPATH"] = str(Path.cwd())
    from tests.dask import dask_packages, running_cluster

    sys.path.append(str(dask_packages()))
    from blocks.settings import current_settings

    current_settings.cache_clear()
    with tempfile.TemporaryDirectory() as folder, running_cluster(Path(folder) / "dask") as cluster:
        found: dict[str, list[tuple[float, float]]] = {"pool": [], "dask": []}
        for _ in range(ROUNDS):
            for name, address in (("pool", None), ("dask", cluster.address)):
                found[name].append(asyncio.run(measure(address, Path(folder))))
                cpu, wall = found[name][-1]
                print(f"{name}: {cpu:.3f} ms of processor time, {wall:.3f} ms by the clock, for each job", flush=True)
    for name, values in found.items():
        cpu, wall = (statistics.median(one) for one in zip(*values, strict=True))
        print(f"{name}, median: {cpu:.3f} ms of processor time, {wall:.3f} ms by the clock, for each job")
    return 0


async def measure(address: str | None, folder: Path) -> tuple[float, float]:
    """Return milliseconds of processor time and of the clock for each job, after a hundred to begin with."""
    from blocks.age import HybridIdentity
    from blocks.custody.sealing import Sealing
    from blocks.settings import Settings
    from tasks.contract import Services
    from tasks.runners import open_runner

    recipient = HybridIdentity.generate().recipient
    settings = Settings(home=folder / "home", workers=2, dask=address)
    services = Services(home=folder / "home", sealing=Sealing(recipient=recipient, root=None))
    scratch = Path(tempfile.mkdtemp(dir=folder))
    jobs = [_job(scratch, number, recipient.text) for number in range(JOBS + 100)]
    places = asyncio.Semaphore(AT_ONCE)
    async with open_runner(settings, services) as runner:

        async def one(job: Job) -> None:
            async with places:
                result = await runner.run(job)
                assert result.filled is not None

        await asyncio.gather(*map(one, jobs[:100]))
        began = time.process_time(), time.perf_counter()
        await asyncio.gather(*map(one, jobs[100:]))
        ended = time.process_time(), time.perf_counter()
    return (ended[0] - began[0]) / JOBS * 1000, (ended[1] - began[1]) / JOBS * 1000


def _job(folder: Path, number: int, encrypted_for: str) -> Job:
    from blocks.catalog import Draft, Reservation, StageMark
    from blocks.custody.sealing import KeepOrder
    from tasks.contract import SOURCE, DocumentInfo
    from tasks.job import Job

    source = folder / f"{number}.txt"
    source.write_text(f"{TEXT}{number}\n")
    sha256 = f"{number:064x}"
    document = DocumentInfo(
        name=source.name, sha256=sha256, size_bytes=len(TEXT), media_type="text/plain", source=str(source)
    )
    draft = Draft(
        kind="stage_output",
        filename=f"{number}.hostile.txt",
        source_file=str(source),
        document_sha256=sha256,
        media_type="text/plain",
        keep_for=timedelta(days=1),
        stage=StageMark(number=6, name="hostile", key=sha256),
        run_id=uuid4(),
    )
    file_id = uuid4()
    reservation = Reservation(file_id=file_id, location=f"outputs/{file_id}", draft=draft)
    target = folder / f"{number}.out"
    keep = KeepOrder(
        reservation=reservation,
        draft=replace(draft),
        now=(datetime.now(UTC), time.monotonic()),
        spool=folder / f"{number}.sealed",
        encrypted_for=encrypted_for,
    )
    return Job(
        stage_name="hostile",
        stage_key=sha256,
        document=document,
        files={SOURCE: source},
        options={},
        target=target,
        keep=keep,
    )


if __name__ == "__main__":
    sys.exit(main())
