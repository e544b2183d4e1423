"""How far a run is, in a number and in words."""

from __future__ import annotations

from typing import Any, cast

from flows.processing.progress import Progress, measure
from tasks.document import Document


class Seen:
    """A document that is taken into custody, and past *stages* stages."""

    def __init__(self, *, custody: bool = True, stages: int = 0, failed: bool = False) -> None:
        self.upload = object() if custody else None
        self.outputs = dict.fromkeys(range(stages))
        self.failed = failed


def of(*documents: Seen) -> Progress:
    return measure(cast("list[Document]", cast("Any", documents)), 5)


def test_the_stage_is_the_one_that_documents_wait_for() -> None:
    seen = of(Seen(stages=2), Seen(stages=2), Seen(stages=3))
    assert seen.note == "stage 3 of 5, 1 of 3 documents"
    assert round(seen.percent) == 56


def test_before_the_first_stage_documents_are_taken_into_custody() -> None:
    assert of(Seen(custody=False), Seen()).note == "custody, 1 of 2 documents"
    assert of(Seen(), Seen()).note == "stage 1 of 5, 0 of 2 documents"


def test_a_failed_document_is_past_every_stage() -> None:
    assert of(Seen(stages=4), Seen(custody=False, failed=True)).note == "stage 5 of 5, 1 of 2 documents, 1 failed"


def test_at_the_end_all_documents_are_counted() -> None:
    done = of(Seen(stages=5), Seen(failed=True))
    assert done.note == "2 of 2 documents, 1 failed"
    assert done.percent == 100.0
