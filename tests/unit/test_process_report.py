"""What ``waybill process`` prints of a run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from waybill.commands.process_report import MAX_DOCUMENTS_IN_TABLE, print_report
from waybill.stack import StackAddresses

ADDRESSES = StackAddresses("postgresql://", None, None, Path("home"), ())
MANY = MAX_DOCUMENTS_IN_TABLE + 1


def document(name: str, *, warnings: list[str] | None = None, reused: int = 0, **more: Any) -> dict[str, Any]:
    """Return a document as a report has it, with two outputs, *reused* of them reused."""
    outputs = [
        {
            "kind": "stage_output", "stage": stage, "stage_name": "chunker", "filename": f"{name}.{stage}",
            "size": 1200, "seconds": 0.25, "reused": stage <= reused, "warnings": warnings or [] if stage == 1 else [],
        }
        for stage in (1, 2)
    ]  # fmt: skip
    upload = {"kind": "upload", "reused": False, "warnings": []}
    outline = {"title": None, "media_type": None, "language": "en", "pages": None, "chunks": 1031, "facts": 2}
    whole = {"source": f"/in/{name}", "state": "completed", "error": None, "outline": outline}
    return {**whole, "artifacts": [upload, *outputs], **more}


def report_of(documents: list[dict[str, Any]], summary: str = "") -> dict[str, Any]:
    """Return the report of a run of *documents*."""
    reused = [artifact["reused"] for document in documents for artifact in document["artifacts"]]
    counts = {
        "documents": len(documents),
        "failed": sum(document["state"] == "failed" for document in documents),
        "files_made": reused.count(False),
        "files_reused": reused.count(True),
        "left_out": 0,
        "failed_left_out": 0,
    }
    whole = {"run_id": "r", "seconds": 1.0, "documents": documents, "warning_summary": summary}
    return {**whole, "counts": counts, "rest": None}


def printed(capsys: pytest.CaptureFixture[str], documents: list[dict[str, Any]], **options: Any) -> tuple[str, str]:
    """Return what is printed to standard output and standard error of a run of *documents*."""
    report = report_of(documents, "some")
    print_report(report, ADDRESSES, total_seconds=3.5, **options)
    captured = capsys.readouterr()
    return captured.out, captured.err


def table(capsys: pytest.CaptureFixture[str], documents: list[dict[str, Any]], **options: Any) -> list[str]:
    """Return the lines before the sums."""
    lines = printed(capsys, documents, **options)[0].splitlines()
    return lines[: lines.index("")]


def test_each_document_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    documents = [
        document("report.pdf", outline={**document("")["outline"], "pages": 12}, warnings=["2 hidden rows"]),
        document("a.txt", reused=1),
        document("b.txt", reused=2),
    ]
    assert table(capsys, documents) == [
        "document    pages  chunks  facts  seconds  reused  warnings",
        "report.pdf     12   1,031      2      0.5                 2",
        "a.txt               1,031      2      0.2  1 of 2",
        "b.txt               1,031      2              all",
    ]


def test_failures_come_last_with_their_reason(capsys: pytest.CaptureFixture[str]) -> None:
    failed = document("bad.pdf", state="failed", error="custody: cannot open it", artifacts=[])
    out, err = printed(capsys, [failed, document("a.txt")])
    assert "bad.pdf" not in out
    assert err == "failed: /in/bad.pdf: custody: cannot open it\n"
    assert "1 of 2 documents completed in 3.5 s (1.0 s of it the run); 3 files made, 0 reused." in out


def test_a_run_without_a_completed_document_is_not_followed_by_a_search(capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = printed(capsys, [document("bad.pdf", state="failed", error="custody: no", artifacts=[])])
    assert out.splitlines()[0] == ""  # no table
    assert "0 of 1 document completed" in out
    assert "Search:" not in out


def test_the_page_of_the_run_needs_a_waybill_up_only_where_none_runs(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of([])
    print_report(report, ADDRESSES, total_seconds=1.0)
    assert "Run:     waybill up, then http://127.0.0.1:4200/runs/flow-run/r\n" in capsys.readouterr().out
    served = StackAddresses("postgresql://", None, "http://127.0.0.1:4461", Path("home"), ())
    print_report(report, served, total_seconds=1.0)
    assert "Run:     http://127.0.0.1:4461/runs/flow-run/r\n" in capsys.readouterr().out


def test_files_are_listed_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, [document("a.txt", warnings=["1 hidden row"], reused=1)], with_files=True) == [
        "document  stage      output     size  seconds  reused  warnings",
        "a.txt     1 chunker  a.txt.1  1.2 kB           reused  1 hidden row",
        "a.txt     2 chunker  a.txt.2  1.2 kB     0.25",
    ]


@pytest.mark.parametrize("name", ["a" * 200 + ".chunks.json", "文" * 60 + ".pdf", "short.md"])
def test_a_terminal_of_80_columns_shows_each_document_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    lines = table(capsys, [document(name, warnings=["2 hidden rows"], reused=1)] * 2)
    assert len(lines) == 3  # with the head
    assert lines[1].split(" ", 1)[0].endswith(name[-8:])
    assert lines[1].rstrip().endswith("1 of 2         2")


def test_a_long_run_names_the_documents_that_have_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    documents = [document(f"{number}.txt") for number in range(MANY)]
    documents[0] = document("0.txt", warnings=["1 comment left out", "2 hidden rows"])
    documents[41] = document("41.txt", warnings=["1 image without description"])
    assert table(capsys, documents) == [
        "document  warnings",
        "0.txt     2 hidden rows, 1 comment left out",
        "41.txt    1 image without description",
    ]


def test_of_very_many_documents_with_warnings_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = table(capsys, [document(f"{n}.txt", warnings=["1 hidden row"]) for n in range(MANY + 2)])
    assert lines[-2:] == ["99.txt    1 hidden row", "3 more documents with warnings: --json has all of them"]


def test_a_long_run_without_warnings_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert table(capsys, [document(f"{number}.txt") for number in range(MANY)]) == []


def test_webhooks_that_wait_are_named_with_what_sends_them(capsys: pytest.CaptureFixture[str]) -> None:
    report = report_of([document("a.txt")])
    print_report({**report, "webhooks_waiting": 2}, ADDRESSES, total_seconds=1.0)
    assert "2 wait for a receiver; 'waybill up' or 'waybill dispatch' sends what is due" in capsys.readouterr().out
    print_report({**report, "webhooks_waiting": 0}, ADDRESSES, total_seconds=1.0)
    assert "receiver" not in capsys.readouterr().out


def test_a_run_is_shown_at_the_server_that_runs_or_at_the_one_that_up_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = report_of([document("a.txt")])
    running = StackAddresses("postgresql://", None, "http://127.0.0.1:4300", Path("home"), ())
    print_report(report, running, total_seconds=3.5)
    print_report(report, replace(running, started=("prefect",)), total_seconds=3.5)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Run:")]
    assert lines == [
        "Run:     http://127.0.0.1:4300/runs/flow-run/r",
        "Run:     waybill up, then http://127.0.0.1:4200/runs/flow-run/r",
    ]
