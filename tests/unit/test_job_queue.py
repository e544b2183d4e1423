"""Which jobs a worker is handed together: its fair share of those that have waited longest."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tasks.batch import MAX_JOBS
from tasks.contract import DocumentInfo
from tasks.job import Job
from tasks.job_queue import JobQueue, QueuedJob
from tasks.time_limit import TimeLimit


def queued(name: str, stage: str = "chunker", options: dict[str, Any] | None = None) -> QueuedJob:
    document = DocumentInfo(name=name, sha256="0" * 64, size_bytes=1, media_type="text/plain", source=name)
    job = Job(
        stage_name=stage, stage_key=name, document=document, files={}, options=options or {}, target=Path(f"{name}.out")
    )
    limit = TimeLimit(cpu_seconds=1.0, silence_seconds=1.0)
    return QueuedJob(job=job, limit=lambda: limit, future=asyncio.get_running_loop().create_future())


def filled(workers: int, *jobs: QueuedJob) -> JobQueue:
    queue = JobQueue(workers, lambda: None)
    for one in jobs:
        queue.put(one)
    return queue


def taken(queue: JobQueue) -> list[str]:
    return [one.job.stage_key for one in queue.take()]


async def test_a_worker_is_handed_its_share_at_most_and_never_more_than_a_batch() -> None:
    queue = filled(2, *(queued(str(number)) for number in range(40)))
    sizes = []
    while names := taken(queue):
        sizes.append(len(names))
    assert sizes == [MAX_JOBS, 12, 6, 3, 2, 1]


async def test_those_that_have_waited_longest_come_first_and_of_one_stage_each_time() -> None:
    queue = filled(1, queued("a", "chunker"), queued("b", "facts"), queued("c", "chunker"), queued("d", "facts"))
    assert [taken(queue) for _ in range(3)] == [["a", "c"], ["b", "d"], []]


async def test_jobs_with_other_options_are_not_handed_over_together() -> None:
    queue = filled(1, queued("a", options={"size": 1}), queued("b", options={"size": 1}), queued("c"))
    assert [taken(queue) for _ in range(2)] == [["a", "b"], ["c"]]


async def test_what_was_not_begun_waits_in_its_former_place() -> None:
    queue = filled(1, *(queued(name) for name in "abcd"))
    first = queue.take()
    queue.put(queued("e"))
    queue.put_back(first[1:])
    assert taken(queue) == ["b", "c", "d", "e"]


async def test_one_that_failed_together_with_others_is_handed_over_by_itself() -> None:
    jobs = [queued(name) for name in "abcd"]
    jobs[0].is_single = jobs[2].is_single = True
    queue = filled(1, *jobs)
    assert [taken(queue) for _ in range(4)] == [["a"], ["b"], ["c"], ["d"]]


async def test_no_more_threads_are_started_than_there_are_workers_or_jobs() -> None:
    started: list[int] = []
    queue = JobQueue(3, lambda: started.append(1))
    queue.put(queued("a"))
    assert len(started) == 1
    for name in "bcdef":
        queue.put(queued(name))
    assert len(started) == 3
    assert not queue.leave()  # there is work
    while queue.take():
        pass
    assert queue.leave()
    queue.put(queued("g"))
    assert len(started) == 4


async def test_jobs_of_a_closed_queue_are_cancelled() -> None:
    waiting, late, back = queued("a"), queued("b"), queued("c")
    queue = filled(1, waiting)
    queue.close()
    queue.put(late)
    queue.put_back([back])
    await asyncio.sleep(0)
    assert [one.future.cancelled() for one in (waiting, late, back)] == [True] * 3
    assert queue.take() == []
