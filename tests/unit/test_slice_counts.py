"""How far a run is whose documents other runs process."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from blocks.runs.slices import Slice
from flows.processing.progress import Pace
from flows.processing.slice_results import SliceCounts
from tasks.step_counts import StepCounts

RUN = uuid4()


def a_slice(number: int, state: str = "waiting", run_id: UUID | None = None, **result: Any) -> Slice:
    return Slice(number=number, state=state, attempt=1, run_id=run_id, documents=100, result=result or None)


def seen(slices: list[Slice], progress: dict[UUID, float], counts: StepCounts, shown: SliceCounts) -> tuple[float, str]:
    shown.show(slices, progress)
    found = Pace(counts, 0.0).progress(0.0)
    return found.percent, found.note


def test_it_is_the_sum_of_slices_that_have_ended_and_of_what_others_report_and_never_goes_back() -> None:
    counts = StepCounts(documents=300, stages=4)
    shown = SliceCounts(counts)
    waiting = [a_slice(1), a_slice(2), a_slice(3)]
    assert seen(waiting, {}, counts, shown) == (0.0, "0 of 3 slices, 0 of 300 documents")
    begun = [a_slice(1, "started", RUN), *waiting[1:]]
    assert seen(begun, {RUN: 0.6}, counts, shown) == (20.0, "0 of 3 slices, 60 of 300 documents")
    # Its process has died, and another one has begun.
    again = [a_slice(1, "started", uuid4()), *waiting[1:]]
    assert seen(again, {}, counts, shown) == (20.0, "0 of 3 slices, 60 of 300 documents")
    assert seen(waiting, {}, counts, shown) == (20.0, "0 of 3 slices, 60 of 300 documents")
    done = [a_slice(1, "completed", failed=3), a_slice(2, "started", RUN), waiting[2]]
    assert round(seen(done, {RUN: 0.5}, counts, shown)[0]) == 50
    assert seen(done, {RUN: 0.5}, counts, shown)[1] == "1 of 3 slices, 150 of 300 documents, 3 failed"
    ended = [done[0], a_slice(2, "completed", failed=0), a_slice(3, "lost", lost="it ended")]
    for _ in range(2):
        assert seen(ended, {}, counts, shown) == (100.0, "300 of 300 documents, 103 failed")
    assert counts.finished == 300
