"""The summary of a run is bounded, and nothing of a document becomes markup in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

from markdown_it import MarkdownIt

from blocks.catalog import Artifact
from blocks.errors import SourceNotFound
from flows.processing.previews import MAX_CHARS, MAX_FACT_CHARS, MAX_FACTS, Preview, beginning, best_facts
from flows.processing.report import kind_tags
from flows.processing.results import RunResults
from flows.processing.summary import MAX_ROWS, RunSummary
from tasks.contract import DocumentInfo
from tasks.document import Deliverable, Document
from tasks.document_events import CUSTODY
from tasks.outcome import described

RUN = UUID("e646b89c-fe48-4d2a-ba53-cb721916ef57")
SHA = "ab" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def artifact(size: int = 4200, **metadata: Any) -> Artifact:
    return Artifact(
        file_id=uuid4(), kind="stage_output", filename="a.md", source_file="/a.pdf", document_sha256=SHA, stage=1,
        stage_name="markdown-conversion", stage_key="k", run_id=RUN, media_type="text/markdown", size=size, sha256=SHA,
        stored_size=size, stored_sha256=SHA, location="x", metadata=metadata, report={}, created_at=NOW, expires_at=NOW,
    )  # fmt: skip


def document(name: str = "report.pdf", **metadata: Any) -> Document:
    made = Document(index=0, source=cast("Any", SimpleNamespace(text=f"/{name}")), label=name)
    made.info = DocumentInfo(name=name, sha256=SHA, size_bytes=563_383, media_type="application/pdf", source=f"/{name}")
    made.outputs["markdown-conversion"] = Deliverable(
        artifact=artifact(**{"type": "pdf", "pages": 12, "language": "en", "title": "A report", **metadata}),
        reused=False,
        seconds=0.81,
    )
    return made


def results_of(documents: Sequence[Document]) -> RunResults:
    results = RunResults(len(documents))
    for index, one in enumerate(documents):
        one.index = index
    results.add(documents)
    return results


def page(*documents: Document, gateway: str | None = "https://w.example", **previews: Preview) -> str:
    shown = {one: previews[one.label.partition(".")[0]] for one in documents if one.label.partition(".")[0] in previews}
    return RunSummary(
        run_id=RUN, results=results_of(documents), stage_names=["markdown-conversion"], seconds=1.0, previews=shown,
        gateway=gateway,
    ).markdown()  # fmt: skip


def test_a_document_has_a_row_with_its_title_size_and_counts_and_a_link() -> None:
    row = f"| [report.pdf](https://w.example/documents/{SHA}) | A report | pdf | 563.4 kB | 12 | English |  |  |"
    assert row in page(document())
    assert "| report.pdf | A report |" in page(document(), gateway=None)


def test_names_titles_texts_and_facts_become_no_markup() -> None:
    evil = "[x](javascript:1) <img src=x onerror=1> | ![y](z) `a` **b** ~~c~~ # d & $e$"
    preview = Preview(text=f"{evil}\n```\n````\n# Not a heading\n<script>", facts=(evil,))
    shown = page(document(f"evil.{evil}.pdf", title=evil, type=evil, language=evil), evil=preview)
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(shown)
    assert "<img" not in html and "<script" not in html and 'javascript:1"' not in html
    assert "<strong>b" not in html and "<code>a" not in html and "<s>c" not in html
    assert "<h1>Not a heading" not in html
    # One row of the table for the document, one for its stages: no character of its name ends a cell.
    assert all(line.count("<td") in {0, 1} for line in html.splitlines())
    assert html.count("</tr>") == 4


def test_rows_reasons_and_cells_are_bounded() -> None:
    many = [document(f"{'n' * 190}{number}.pdf", title="t" * 10_000) for number in range(MAX_ROWS + 300)]
    for one in many:
        one.fail(SourceNotFound("r" * 10_000), where=CUSTODY)
    shown = page(*many)
    assert len(shown) < 250_000
    assert "300 more are not shown" in shown


def test_previews_are_cut_between_words_and_without_the_header() -> None:
    text = "---\ntitle: secret header\n---\n\n# A\n\n" + "word " * 1000
    shown = beginning(text)
    assert shown.startswith("A\n\nword") and shown.endswith("word…") and len(shown) <= MAX_CHARS
    assert beginning("x" * 5000) == "x" * (MAX_CHARS - 1) + "…"
    assert beginning("short") == "short"


def test_the_best_facts_are_those_with_the_highest_scores() -> None:
    facts = [{"statement": f"fact\n{number}", "score": number / 10} for number in range(9)]
    assert best_facts({"facts": facts})[:2] == ("fact 8", "fact 7")
    assert len(best_facts({"facts": facts})) == MAX_FACTS
    assert len(best_facts({"facts": [{"statement": "x" * 999}]})[0]) == MAX_FACT_CHARS


def test_a_line_says_what_a_step_has_made_and_what_it_waited_for() -> None:
    one = document()
    assert described(one, "markdown-conversion") == "report.pdf: 12 pages, English, 4.2 kB, 0.81 s"
    output = one.outputs["markdown-conversion"]
    one.outputs["markdown-conversion"] = replace(output, waiting_seconds=23.6, worker="gpu")
    assert described(one, "markdown-conversion").endswith("0.81 s after 23.6 s of waiting for a worker on gpu")
    rows = {"chunks": {"inserted": 3, "updated": 1, "removed": 9}, "facts": {"unchanged": 1}, "documents": "odd"}
    one.outputs["ingestor"] = replace(output, artifact=artifact(rows=rows, pages="odd"), reused=True)
    assert described(one, "ingestor") == "report.pdf: 4 chunks, 1 fact, 4.2 kB, reused"


def test_figures_of_the_wrong_type_are_passed_over_wherever_metadata_is_read() -> None:
    odd: dict[str, Any] = {"type": 7, "pages": True, "language": ["en"], "title": {}, "chunks": -1, "facts": 3}
    one = document(**odd)
    assert "| report.pdf | | pdf | 563.4 kB | | | | 3 |" in " ".join(page(one, gateway=None).split())
    assert described(one, "markdown-conversion") == "report.pdf: 3 facts, 4.2 kB, 0.81 s"
    assert kind_tags(results_of([one]).kinds) == ["type:pdf"]


def test_tags_are_the_most_frequent_types() -> None:
    many = [document(type=f"t{number % 20}") for number in range(40)] + [document(type="pdf")] * 3
    tags = kind_tags(results_of(many).kinds)
    assert tags[0] == "type:pdf" and len(tags) == 8


def test_the_number_of_warnings_is_that_of_the_line_above() -> None:
    of_one = document("notes.docx")
    made = of_one.outputs["markdown-conversion"]
    report = {"warnings": ["9 comments left out", "the text is not UTF-8"]}
    of_one.outputs["markdown-conversion"] = replace(made, artifact=replace(made.artifact, report=report))
    text = page(of_one)
    assert "10 warnings: 9 comments left out, the text is not UTF-8." in text
    assert "| 12 | English |  |  | 10 |" in text
