"""What a slice reports to its parent, and how the parent adds it up; plain JSON, of another process and machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from blocks.errors import StageCrashed
from blocks.json_cleaning import cleaned, storable_leaf
from blocks.runs.slices import Slice
from blocks.runtime.in_words import counted
from flows.processing.results import RunResults
from tasks.document import Document
from tasks.sources import Source
from tasks.sources.records import as_record, error_of, from_record
from tasks.step_counts import StepCounts

# Where a lost slice has failed, and what the parent is at: it has no stage of its own.
SLICE = "slice"


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
    for reason, some in groupby(slices, key=_why_lost):
        together = list(some)
        if reason is not None:
            _add_lost(together, reason, first, results)
            first += sum(one.documents for one in together)
            continue
        for one in together:
            _add_completed(one.result or {}, first, results)
            first += one.documents


def lost_documents(records: Iterable[Mapping[str, Any]], why: str) -> Iterator[Document]:
    """Yield the documents of a slice that is given up, as failed."""
    for number, record in enumerate(records):
        source = from_record(record)
        document = Document(index=number, source=source, label=source.name or source.text)
        document.fail(StageCrashed(f"{why.rstrip('.')}; run the same again"), where=SLICE)
        yield document


def _why_lost(one: Slice) -> str | None:
    return str((one.result or {}).get("lost", "it did not end")) if one.state == "lost" else None


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


def _add_lost(slices: Sequence[Slice], why: str, first: int, results: RunResults) -> None:
    """Neighbours that were lost for one reason are one entry. Their documents count as failed; what is stored stays."""
    numbers = f"slice {slices[0].number}" if len(slices) == 1 else f"slices {slices[0].number} to {slices[-1].number}"
    documents = sum(one.documents for one in slices)
    label = f"{numbers} ({counted(documents, 'document')})"
    document = Document(index=first, source=Source(text=label), label=label)
    document.fail(StageCrashed(f"{why.rstrip('.')}; run the same again"), where=SLICE)
    # With the loss of the slice.
    document.failure_recorded = True
    results.add_entry(document, documents)


class SliceCounts:
    """Keeps the counts of the parent right, by which its progress is reported. They never go back."""

    def __init__(self, counts: StepCounts) -> None:
        self._counts = counts
        self._counted: set[int] = set()
        # Steps of slices that have not ended, as their runs have reported them, by the number of the slice.
        self._under_way: dict[int, int] = {}

    def show(self, slices: Sequence[Slice], progress: Mapping[UUID, float]) -> None:
        """Count the documents of slices that have ended since the last call, and the steps of those under way.

        *progress* (0 to 1) is what runs of slices have reported.
        """
        counts = self._counts
        counts.slices = (len(slices), sum(one.has_ended for one in slices))
        for one in slices:
            if one.number in self._counted:
                continue
            before = self._under_way.pop(one.number, 0)
            if one.has_ended:
                self._counted.add(one.number)
                # In place of the steps that were reported.
                counts.steps_done -= before
                for _ in range(one.documents):
                    counts.move(0, counts.steps_each)
                lost = one.documents if one.state == "lost" else int((one.result or {}).get("failed", 0))
                counts.failed += lost
            else:
                reported = progress.get(one.run_id, 0.0) if one.run_id is not None else 0.0
                # Another attempt begins anew, and soon reuses what the one before has done.
                now = max(before, int(reported * one.documents * counts.steps_each))
                counts.steps_done += now - before
                self._under_way[one.number] = now
