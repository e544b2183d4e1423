"""How far a run is, in a number and in words."""

from __future__ import annotations

from typing import Any, cast

import pytest

from blocks.errors import StageFailed, StorageUnavailable
from blocks.runtime.in_words import how_long, how_often
from flows.processing.progress import Pace, Progress
from tasks.document import Document
from tasks.step_counts import StepCounts

STAGES = ("first", "second", "third", "fourth", "fifth")
DELIVERED = cast("Any", object())


def documents(count: int) -> tuple[StepCounts, list[Document]]:
    counts = StepCounts(documents=count, stages=len(STAGES))
    source = cast("Any", None)
    return counts, [Document(index=i, source=source, label=f"{i}.txt", counts=counts) for i in range(count)]


def bring(document: Document, stages: int | None, *, failed: bool = False) -> None:
    """Take *document* into custody and through *stages* stages; None: not even into custody."""
    if stages is not None:
        document.stored(DELIVERED)
        for name in STAGES[:stages]:
            document.deliver(name, DELIVERED)
    if failed:
        document.fail(StageFailed("no"), where="first")


def of(*seen: tuple[int | None, bool]) -> Progress:
    counts, some = documents(len(seen))
    for document, (stages, failed) in zip(some, seen, strict=True):
        bring(document, stages, failed=failed)
    return Pace(counts, 0.0).progress(0.0)


def test_the_stage_is_the_one_that_documents_wait_for() -> None:
    seen = of((2, False), (2, False), (3, False))
    assert seen.note == "stage 3 of 5, 1 of 3 documents"
    assert round(seen.percent) == 56


def test_before_the_first_stage_documents_are_taken_into_custody() -> None:
    assert of((None, False), (0, False)).note == "custody, 1 of 2 documents"
    assert of((0, False), (0, False)).note == "stage 1 of 5, 0 of 2 documents"


def test_a_failed_document_is_past_every_stage() -> None:
    assert of((4, False), (None, True)).note == "stage 5 of 5, 1 of 2 documents, 1 failed"


def test_at_the_end_all_documents_are_counted() -> None:
    done = of((5, False), (0, True))
    assert done.note == "2 of 2 documents, 1 failed"
    assert done.percent == 100.0


def test_a_document_that_is_retried_is_counted_where_it_was() -> None:
    counts, (one, other) = documents(2)
    bring(one, 2)
    bring(other, 1)
    one.fail(StorageUnavailable("away"), where="third")
    one.fail(StorageUnavailable("still away"), where="third")
    assert (counts.failed, counts.finished, counts.steps_done) == (1, 1, 8)
    one.retry()
    assert (counts.failed, counts.finished, counts.steps_done) == (0, 0, 5)
    one.deliver("third", DELIVERED)
    one.deliver("third", DELIVERED)
    assert counts.steps_done == 6


def test_rate_and_time_left_are_those_of_the_last_minute() -> None:
    counts, some = documents(1200)
    pace = Pace(counts, 0.0)
    for document in some[:600]:  # reused, at once
        bring(document, 5)
    assert pace.progress(1.0).rate is None  # of a second
    for second, document in enumerate(some[600:700], start=1):
        bring(document, 5)
        pace.progress(float(second))
    seen = pace.progress(100.0)
    assert seen.rate == pytest.approx(1.0)
    assert seen.seconds_left == pytest.approx(500.0)
    assert seen.note == "custody, 700 of 1,200 documents, 1.0 documents/s, 8 min left"


def test_a_run_that_stands_still_has_no_rate() -> None:
    counts, some = documents(20)
    pace = Pace(counts, 0.0)
    bring(some[0], 5)
    for second in range(1, 100):
        pace.progress(float(second))
    seen = pace.progress(100.0)
    assert (seen.rate, seen.seconds_left) == (None, None)
    assert seen.note == "custody, 1 of 20 documents"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (99.4, "99 s"), (99.6, "2 min"), (3000, "50 min"), (7800, "2 h 10 min")]
)
def test_times_left_are_in_the_unit_that_suits_them(seconds: float, words: str) -> None:
    assert how_long(seconds) == words


@pytest.mark.parametrize(
    ("rate", "words"),
    [(1234.5, "1,234 documents/s"), (12.4, "12 documents/s"), (0.5, "0.5 documents/s"), (0.05, "3.0 documents/min")],
)
def test_rates_are_in_the_unit_that_suits_them(rate: float, words: str) -> None:
    assert how_often(rate, "document") == words
