"""Jobs that wait are handed to worker processes in batches, which costs no job what one by one would not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from blocks.errors import StageCrashed, StageFailed, StageTimedOut, UnreadableDocument
from tasks.batch import MAX_JOBS
from tasks.job import Job, JobResult
from tasks.pool import WorkerPool
from tasks.worker_process import WorkerProcess
from tests.integration.test_pool import attempts, begun, hostile_pool, impatient, job
from tests.stack_driver import eventually

TOGETHER = "hostile-together"


@pytest_asyncio.fixture
async def pool(tmp_path: Path) -> AsyncIterator[WorkerPool]:
    """One worker, so that jobs wait and are handed over together."""
    async with hostile_pool(tmp_path, "tests.stages.hostile:TOGETHER", workers=1) as opened:
        yield opened


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The documents of each batch that a process is handed, as they are handed over."""
    found: list[list[str]] = []
    begin = WorkerProcess.begin

    def noted(self: WorkerProcess, jobs: Mapping[int, Job]) -> None:
        found.append([one.document.name.removesuffix(".txt") for one in jobs.values()])
        begin(self, jobs)

    monkeypatch.setattr(WorkerProcess, "begin", noted)
    return found


def start(pool: WorkerPool, folder: Path, *texts: str, stage: str = "hostile") -> list[asyncio.Task[JobResult]]:
    return [asyncio.ensure_future(pool.run(job(folder, text, stage))) for text in texts]


async def behind(pool: WorkerPool, folder: Path, *texts: str, stage: str = "hostile") -> list[asyncio.Task[JobResult]]:
    """Jobs that are handed over as one batch, because they waited while the one worker was busy."""
    (first,) = start(pool, folder, "linger first")
    await begun(folder, 1)
    jobs = start(pool, folder, *texts, stage=stage)
    await asyncio.sleep(0)  # each of them is in the queue
    (folder / "go linger first").touch()
    await first
    return jobs


async def test_many_small_jobs_are_few_messages(pool: WorkerPool, tmp_path: Path, batches: list[list[str]]) -> None:
    texts = [f"quick {number}" for number in range(600)]  # more than there are numbers for the jobs of a process
    jobs = await behind(pool, tmp_path, *texts)
    results = await asyncio.gather(*jobs)
    assert [result.metadata["letters"] for result in results] == [len(text) for text in texts]
    assert [(tmp_path / f"{text}.out").read_text() for text in texts] == [text.upper() for text in texts]
    assert [text for batch in batches[1:] for text in batch] == texts
    assert max(map(len, batches)) == MAX_JOBS
    assert len(batches) == 1 + -(-600 // MAX_JOBS)


async def test_a_worker_that_is_free_takes_over_what_another_has_not_begun(tmp_path: Path) -> None:
    async with hostile_pool(tmp_path) as pool:
        busy = start(pool, tmp_path, "linger a", "linger b")
        await begun(tmp_path, 2)
        (held,) = start(pool, tmp_path, "linger held")
        quick = start(pool, tmp_path, *(f"quick {number}" for number in range(12)))
        await asyncio.sleep(0)
        (tmp_path / "go linger a").touch()
        await begun(tmp_path, 3)  # with some of the quick ones behind it
        (tmp_path / "go linger b").touch()
        assert [result.metadata["letters"] for result in await asyncio.gather(*quick)] == [7] * 10 + [8] * 2
        assert not held.done()
        (tmp_path / "go").touch()
        assert all(not result.warnings for result in await asyncio.gather(held, *busy, *quick))
        assert len(attempts(tmp_path)) == 3


async def test_of_a_batch_only_the_job_under_way_when_its_process_died_is_repeated(
    pool: WorkerPool, tmp_path: Path, batches: list[list[str]]
) -> None:
    texts = [f"linger {number}" for number in range(5)]
    jobs = await behind(pool, tmp_path, *texts)
    for text in texts[:2]:
        (tmp_path / f"go {text}").touch()
    pid = (await begun(tmp_path, 4))[-1]
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "go").touch()
    warnings = [result.warnings for result in await asyncio.gather(*jobs)]
    assert warnings == [(), (), ("repeated: the first worker process died (exit code -9)",), (), ()]
    assert [text for text, _ in attempts(tmp_path)] == ["linger first", *texts[:3], *texts[2:]]
    assert batches == [["linger first"], texts, [texts[2]], texts[3:]]


async def test_a_job_that_runs_alone_waits_for_no_batch(tmp_path: Path) -> None:
    async with hostile_pool(tmp_path) as pool:
        suspect, other = start(pool, tmp_path, "linger suspect", "linger other")
        await begun(tmp_path, 2)
        behind_other = start(pool, tmp_path, *(f"linger behind {number}" for number in range(6)))
        await asyncio.sleep(0)
        (tmp_path / "go linger other").touch()
        await other
        last = (await begun(tmp_path, 3))[-1]  # with two more behind it
        assert attempts(tmp_path)[-1][0] == "linger behind 0"
        os.kill(dict(attempts(tmp_path))["linger suspect"], signal.SIGKILL)
        await asyncio.to_thread(
            eventually, lambda: [batch.size for batch in pool._running] == [1], "the two wait again"
        )
        (tmp_path / "go linger behind 0").touch()
        await begun(tmp_path, 4)
        assert attempts(tmp_path)[-1][0] == "linger suspect"
        (tmp_path / "go").touch()
        assert len((await suspect).warnings) == 1
        await asyncio.gather(*behind_other)
        assert last != attempts(tmp_path)[3][1]


async def test_a_job_that_exceeds_its_time_costs_no_other_of_its_batch_anything(
    pool: WorkerPool, tmp_path: Path, batches: list[list[str]]
) -> None:
    jobs = await behind(impatient(pool), tmp_path, "quick 0", "hang", "quick 1", "quick 2")
    first, hanging, *others = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(hanging, StageTimedOut)
    assert [isinstance(one, JobResult) and one.warnings for one in (first, *others)] == [()] * 3
    assert batches[1:] == [["quick 0", "hang", "quick 1", "quick 2"], ["quick 1", "quick 2"]]


async def test_a_job_that_spoils_its_process_is_repeated_in_a_fresh_one_and_those_after_it_begin_elsewhere(
    pool: WorkerPool, tmp_path: Path, batches: list[list[str]]
) -> None:
    jobs = await behind(pool, tmp_path, "keep", "need", "quick 0", "raise", "quick 1")
    *fine, failed, last = await asyncio.gather(*jobs, return_exceptions=True)
    assert [isinstance(one, JobResult) and one.warnings for one in (*fine, last)] == [()] * 4
    assert isinstance(failed, StageFailed)
    assert batches[1:] == [
        ["keep", "need", "quick 0", "raise", "quick 1"],
        ["need"],
        ["quick 0", "raise", "quick 1"],
        ["raise"],
        ["quick 1"],
    ]


async def test_jobs_that_wait_or_are_under_way_when_the_pool_is_closed_end(tmp_path: Path) -> None:
    async with hostile_pool(tmp_path, workers=1) as pool:
        jobs = await behind(pool, tmp_path, "quick", "linger long", *(f"never {number}" for number in range(40)))
        await begun(tmp_path, 2)
    done, under_way, *others = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(done, JobResult)
    assert isinstance(under_way, StageCrashed)
    assert {type(other) for other in others} == {asyncio.CancelledError}


async def test_a_job_whose_caller_is_cancelled_while_it_waits_is_not_handed_over(
    pool: WorkerPool, tmp_path: Path, batches: list[list[str]]
) -> None:
    (first,) = start(pool, tmp_path, "linger first")
    await begun(tmp_path, 1)
    one, cancelled, other = start(pool, tmp_path, "quick 0", "quick 1", "quick 2")
    await asyncio.sleep(0)
    cancelled.cancel()
    (tmp_path / "go").touch()
    await asyncio.gather(first, one, other)
    assert cancelled.cancelled()
    assert batches == [["linger first"], ["quick 0", "quick 2"]]


def calls(folder: Path) -> list[int]:
    """How many documents each call of the stage that takes them together had."""
    return [int(line) for line in (folder / "together").read_text().split()]


async def test_a_stage_that_takes_documents_together_is_called_once_for_a_batch(
    pool: WorkerPool, tmp_path: Path
) -> None:
    jobs = await behind(pool, tmp_path, "quick 0", "refused", "quick 1", stage=TOGETHER)
    first, refused, last = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(refused, UnreadableDocument)
    assert [isinstance(one, JobResult) and one.metadata for one in (first, last)] == [{"letters": 7}] * 2
    assert (tmp_path / "quick 1.out").read_text() == "QUICK 1"
    assert calls(tmp_path) == [3]
    (alone,) = start(pool, tmp_path, "quick 2", stage=TOGETHER)
    await alone
    assert calls(tmp_path) == [3]


@pytest.mark.parametrize(("behaviour", "expected"), [("raise", StageFailed), ("exit", StageCrashed)])
async def test_a_document_that_fails_all_that_are_taken_together_fails_alone(
    pool: WorkerPool, tmp_path: Path, behaviour: str, expected: type[Exception]
) -> None:
    jobs = await behind(pool, tmp_path, "quick 0", behaviour, "quick 1", stage=TOGETHER)
    first, failed, last = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(failed, expected)
    assert [isinstance(one, JobResult) and one.warnings for one in (first, last)] == [(), ()]
    assert calls(tmp_path)[0] == 3


async def test_documents_that_are_taken_together_may_use_the_sum_of_their_times(
    pool: WorkerPool, tmp_path: Path, batches: list[list[str]]
) -> None:
    jobs = await behind(impatient(pool), tmp_path, "quick 0", "hang", "quick 1", stage=TOGETHER)
    first, hanging, last = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(hanging, StageTimedOut)
    assert [isinstance(one, JobResult) and one.warnings for one in (first, last)] == [(), ()]
    assert batches[1:] == [["quick 0", "hang", "quick 1"], ["quick 0"], ["hang"], ["quick 1"]]
