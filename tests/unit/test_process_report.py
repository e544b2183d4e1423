"""What ``waybill process`` prints of a run with more documents than its table takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from waybill.commands import process
from waybill.stack import StackAddresses

ADDRESSES = StackAddresses("postgresql://", None, None, Path("home"), ())


def printed(capsys: pytest.CaptureFixture[str], warnings: list[list[str]]) -> list[str]:
    """Return the lines printed of a run whose documents 0.txt, 1.txt ... have *warnings*, before the sums."""
    documents: list[dict[str, Any]] = [
        {
            "source": f"/in/{number}.txt",
            "state": "completed",
            "error": None,
            "artifacts": [
                {"kind": "upload", "reused": False, "warnings": []},
                {"kind": "stage_output", "reused": False, "warnings": of_one},
            ],
        }
        for number, of_one in enumerate(warnings)
    ]
    report = {"run_id": "r", "seconds": 1.0, "documents": documents, "warning_summary": "some"}
    process._print_report(report, ADDRESSES)  # pyright: ignore[reportPrivateUsage]
    lines = capsys.readouterr().out.splitlines()
    return lines[: lines.index("")]


def test_a_long_run_names_the_documents_that_have_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    warnings = [["1 comment left out", "2 hidden rows"], *([[]] * 40), ["1 image without description"]]
    assert printed(capsys, warnings) == [
        "document  warnings",
        "0.txt     2 hidden rows, 1 comment left out",
        "41.txt    1 image without description",
    ]


def test_of_very_many_documents_with_warnings_the_rest_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, [["1 hidden row"]] * 43)
    assert lines[-2:] == ["39.txt    1 hidden row", "3 more documents have warnings: --json has all of them"]


def test_a_long_run_without_warnings_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, [[]] * 41) == []
