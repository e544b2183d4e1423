"""What a run keeps of its documents: everything of a small one, of a large one the first, the failed and the counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from blocks.errors import SourceNotFound
from flows.processing import results as product
from flows.processing.results import RunResults
from tasks.document import Document
from tests.unit.test_run_summary import RUN, document

WHOLE, FIRST, MOST_FAILED = 20, 5, 3


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "WHOLE", WHOLE)
    monkeypatch.setattr(product, "FIRST", FIRST)
    monkeypatch.setattr(product, "MOST_FAILED", MOST_FAILED)


def run(count: int, failed: set[int], *, recorded: bool = True, warning: str = "2 hidden rows") -> RunResults:
    """A run of *count* documents in two shards, of which the second ends first."""
    documents: list[Document] = []
    for index in range(count):
        one = document(f"{index}.pdf")
        one.index = index
        made = one.outputs["markdown-conversion"]
        report = {"warnings": [warning.format(index)]}
        one.outputs["markdown-conversion"] = replace(
            made, reused=index % 2 == 1, artifact=replace(made.artifact, report=report)
        )
        if index in failed:
            one.fail(SourceNotFound("gone"), where="chunker")
            one.failure_recorded = recorded
        documents.append(one)
    results = RunResults(count)
    results.add(documents[count // 2 :])
    results.add(documents[: count // 2])
    return results


def sources(report: dict[str, Any]) -> list[str]:
    return [cast("str", one["source"]) for one in report["documents"]]


def test_of_a_run_that_is_not_large_every_document_is_reported_in_order() -> None:
    report = run(WHOLE, {3}).report(RUN, 1.23456)
    assert sources(report) == [f"/{index}.pdf" for index in range(WHOLE)]
    assert report["state"] == "failed"
    assert report["seconds"] == 1.235
    assert report["counts"] == {
        "documents": WHOLE, "failed": 1, "files_made": WHOLE // 2, "files_reused": WHOLE // 2, "left_out": 0,
        "failed_left_out": 0,
    }  # fmt: skip
    assert report["rest"] is None
    assert report["warning_summary"] == f"{2 * WHOLE} warnings: {2 * WHOLE} hidden rows"


def test_of_a_large_run_the_first_and_the_failed_are_reported_and_all_are_counted() -> None:
    count = 4 * WHOLE
    results = run(count, {2, 30, 60})
    report = results.report(RUN, 1.0)
    assert sources(report) == [f"/{index}.pdf" for index in (*range(FIRST), 30, 60)]
    assert [one["state"] for one in report["documents"]].count("failed") == 3
    assert report["counts"] == {
        "documents": count, "failed": 3, "files_made": count // 2, "files_reused": count // 2,
        "left_out": count - FIRST - 2, "failed_left_out": 0,
    }  # fmt: skip
    assert report["rest"] == {
        "command": f"waybill files list --run {RUN} --json",
        "path": f"/api/v1/files/list?run_id={RUN}",
    }
    assert results.kinds == {"pdf": count}
    assert results.unrecorded == []


def test_when_everything_fails_only_some_failures_are_kept_but_none_without_its_event() -> None:
    count = 4 * WHOLE
    report = run(count, set(range(count))).report(RUN, 1.0)
    assert len(report["documents"]) == FIRST + MOST_FAILED
    assert report["counts"]["failed"] == count
    results = run(count, set(range(count)), recorded=False)
    assert len(results.unrecorded) == count
    for one in results.unrecorded:
        one.failure_recorded = True
    assert results.unrecorded == []


def test_different_warnings_without_end_are_counted_and_not_kept() -> None:
    count = 3 * product._MOST_WARNINGS
    results = run(count, set(), warning="odd passage no. {}")
    assert results.warnings.total() == count
    assert len(results.warnings) <= product._MOST_WARNINGS + 1
    assert results.warning_summary.startswith(f"{count} warnings: other warnings (")
