"""What a slice reports to its parent, and how the parent adds it up; plain JSON, of another process and machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from blocks.errors import StageCrashed
from blocks.json_cleaning import cleaned, storable_leaf
from blocks.runs.slices import Slice
from flows.processing.results import RunResults
from tasks.document import Document
from tasks.sources import Source
from tasks.sources.records import as_record, error_of, from_record
from tasks.step_counts import StepCounts

# Of a slice that is lost.
LOST_IN = "slice"


def result_of(results: RunResults) -> dict[str, Any]:
    """Return the counts and warnings of a slice, and its documents that failed."""
    result = {
        "failed": results.failed,
        "made": results.made,
        "reused": results.reused,
        "kinds": dict(results.kinds),
        "warnings": dict(results.warnings),
        "failures": [_failure(document) for document in results.documents if document.failed],
    }
    return dict(cleaned(result, leaf=storable_leaf))


def _failure(document: Document) -> dict[str, Any]:
    return {
        "index": document.index,
        "label": document.label,
        "source": as_record(document.source),
        "failed_in": document.failed_in,
        "error": [type(document.error).__name__, document.error.message if document.error else ""],
    }


def add_up(slices: Iterable[Slice], results: RunResults) -> None:
    """Add what *slices* have delivered, which have all ended. Of a lost one all documents have failed."""
    slices = list(slices)
    # Those of the attempt that has written the slices, if this one goes on: files may have come since.
    results.expected = sum(one.documents for one in slices)
    first = 0
    for one in slices:
        result = one.result or {}
        if one.state == "lost":
            _add_lost(one, result, first, results)
        else:
            _add_completed(result, first, results)
        first += one.documents


def _add_completed(result: Mapping[str, Any], first: int, results: RunResults) -> None:
    failures: Sequence[Mapping[str, Any]] = result["failures"]
    results.add(_failed_document(one, first) for one in failures)
    results.failed += result["failed"] - len(failures)
    results.made += result["made"]
    results.reused += result["reused"]
    results.kinds.update(result["kinds"])
    results.warnings.update(result["warnings"])


def _failed_document(found: Mapping[str, Any], first: int) -> Document:
    document = Document(index=first + found["index"], source=from_record(found["source"]), label=found["label"])
    document.fail(error_of(*found["error"]), where=found["failed_in"])
    # By the slice.
    document.failure_recorded = True
    return document


def _add_lost(one: Slice, result: Mapping[str, Any], first: int, results: RunResults) -> None:
    """Its documents count as failed; what it has stored of them stays, and is reused."""
    label = f"slice {one.number} ({one.documents} documents)"
    document = Document(index=first, source=Source(text=label), label=label)
    document.fail(StageCrashed(f"{result.get('lost', 'it did not end')}; run the same again"), where=LOST_IN)
    document.failure_recorded = True
    results.add([document])
    results.failed += one.documents - 1


class SliceCounts:
    """Keeps the counts of the parent right, by which its progress is reported."""

    def __init__(self, counts: StepCounts) -> None:
        self._counts = counts
        self._counted: set[int] = set()

    def show(self, slices: Sequence[Slice]) -> None:
        """Count the documents of slices that have ended since the last call."""
        for one in slices:
            if one.has_ended and one.number not in self._counted:
                self._counted.add(one.number)
                for _ in range(one.documents):
                    self._counts.move(0, self._counts.steps_each)
                lost = one.documents if one.state == "lost" else int((one.result or {}).get("failed", 0))
                self._counts.failed += lost
