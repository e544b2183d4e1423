"""The report of a run as the result of its flow."""

from __future__ import annotations

from flows.processing.report import RunReport


def test_as_text_a_report_of_many_documents_is_its_run() -> None:
    report = RunReport({"run_id": "7", "documents": [{"source": "letter.txt"}] * 1000})
    assert repr(report) == "RunReport('7')"
    assert report == {"run_id": "7", "documents": [{"source": "letter.txt"}] * 1000}
