"""What a raised version of a stage makes anew: that stage, and of the later ones those whose input bytes changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tasks import registry
from tasks.job import Job, JobResult
from tasks.pool import WorkerPool
from tests.integration.conftest import Workspace
from tests.integration.test_process_flow import process
from tests.shared_servers import PREFECT_ALONE

pytestmark = PREFECT_ALONE

ALL = [1, 2, 3, 4, 5]
TEXT = "# Rack bars\n\nThe bar in section {} wore by 4.7 mm in 2024.\n\nIt was turned in May.\n"


@contextmanager
def raised(number: int, newer: Callable[[bytes], bytes] = bytes) -> Iterator[None]:
    """Raise the version of stage *number*, whose newer code gives *newer* of the bytes that it gave before."""
    (name,) = [stage.name for stage in registry.BUILT_IN if stage.number == number]
    run_job = WorkerPool.run

    async def run(self: WorkerPool, job: Job) -> JobResult:
        if job.stage_name != name:
            return await run_job(self, job)
        result = await run_job(self, replace(job, keep=None))  # what is stored is what this makes of the output
        job.target.write_bytes(newer(job.target.read_bytes()))
        return result

    with pytest.MonkeyPatch.context() as patch:
        stages = (replace(one, version=f"{one.version}+1") if one.name == name else one for one in registry.BUILT_IN)
        patch.setattr(registry, "BUILT_IN", tuple(stages))
        patch.setattr(WorkerPool, "run", run)
        registry.all_stages.cache_clear()
        yield
    registry.all_stages.cache_clear()


def made_anew(report: dict[str, Any]) -> dict[str, list[int]]:
    """The stages of each document whose output the run made."""
    assert report["state"] == "completed"
    return {
        document["source"].rsplit("/", 1)[1]: [one["stage"] for one in document["artifacts"] if not one["reused"]]
        for document in report["documents"]
    }


@pytest.mark.parametrize("number", ALL)
async def test_a_stage_that_gives_the_same_bytes_is_alone_made_anew(workspace: Workspace, number: int) -> None:
    path = workspace.write("a.md", TEXT.format("C"))
    _, first = await process(path, stages=ALL)
    assert made_anew(first) == {"a.md": [None, *ALL]}
    with raised(number):
        _, second = await process(path, stages=ALL)
        _, third = await process(path, stages=ALL)
    assert made_anew(second) == {"a.md": [number]}
    assert made_anew(third) == {"a.md": []}, "once"
    # The report of the ingestor names its key, which the version is part of.
    before, after = (
        {one["stage"]: one["sha256"] for one in run["documents"][0]["artifacts"] if one["stage"] != 5}
        for run in (first, second)
    )
    assert before == after


async def test_later_stages_are_made_anew_as_far_as_their_input_changed(workspace: Workspace) -> None:
    same = workspace.write("same.md", TEXT.format("A"))
    normalised = workspace.write("normalised.md", TEXT.format("B"))
    changed = workspace.write("changed.md", TEXT.format("C"))

    def newer(markdown: bytes) -> bytes:
        if b"section B" in markdown:
            return markdown.replace(b"\n\nIt", b"\n\n\n\nIt")  # stage 2 makes one empty line of them
        return markdown.replace(b"C wore by 4.7", b"C wore by 4.8")

    await process(same, normalised, changed, stages=ALL)
    with raised(1, newer):
        _, report = await process(same, normalised, changed, stages=ALL)
    assert made_anew(report) == {"same.md": [1], "normalised.md": [1, 2], "changed.md": ALL}


async def test_stages_before_the_raised_one_are_reused(workspace: Workspace) -> None:
    path = workspace.write("a.md", TEXT.format("C"))
    await process(path, stages=ALL)
    with raised(4, lambda facts: facts.replace(b"4.7", b"4.8")):
        _, report = await process(path, stages=ALL)
    assert made_anew(report) == {"a.md": [4, 5]}
