"""The name that a run gives itself, which lists of runs show."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import flows.process
from flows.process import run_name

ID = "waybill:6e718b27-4776-4e6f-90f6-2d7a63115335"


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ([], "no documents"),
        (["/in/report.pdf"], "report.pdf"),
        (["s3://in/report.pdf", "b.md", "c.md"], "report.pdf and 2 more"),
        ([f"{ID}/report.pdf"], "report.pdf"),
        ([f"{ID}//in/letters/report.pdf", f"{ID}/b.md"], "report.pdf and 1 more"),
        ([ID], ID),
        (["/"], "/"),
    ],
)
def test_a_run_is_named_after_its_first_document(
    monkeypatch: pytest.MonkeyPatch, sources: list[str], name: str
) -> None:
    monkeypatch.setattr(flows.process, "flow_run", SimpleNamespace(parameters={"sources": sources}))
    assert run_name() == name
