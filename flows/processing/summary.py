"""Render the summary of a run for Prefect's UI: every document, its outputs, and where to find them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from tasks.document import Document
from tasks.losses import summary

# No person reads a longer table, and Prefect's UI slows down; the command line lists everything.
MAX_ROWS = 200

_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#"})


def markdown_summary(documents: Sequence[Document], stage_names: Sequence[str], *, run_id: UUID, seconds: float) -> str:
    """Return a Markdown page: counts, failures, then a table with a link to each stage's task run."""
    failed = [document for document in documents if document.failed]
    deliverables = [deliverable for document in documents for deliverable in document.deliverables()]
    reused = sum(deliverable.reused for deliverable in deliverables)
    rows = [*failed, *(document for document in documents if not document.failed)][:MAX_ROWS]
    lines = [
        f"# {len(documents) - len(failed)} of {len(documents)} documents completed",
        "",
        f"{len(deliverables) - reused} files made, {reused} reused, {seconds:.1f} s.",
        "",
    ]
    if warnings := summary(warning for document in documents for warning in document.warnings()):
        lines += [f"{_escape(warnings)}.", ""]
    if failed:
        lines += ["## Failed", "", *(_failure(document) for document in failed[:MAX_ROWS]), ""]
    lines += ["## Documents", "", *_table(rows, stage_names)]
    if warnings:
        lines += ["", "## Warnings", "", *_warnings(rows)]
    if len(rows) < len(documents):
        lines += ["", f"{len(documents) - len(rows)} more are not shown."]
    lines += [
        "",
        f"The files: `waybill files list --run {run_id}`, then `waybill files get ID`. "
        "Ask all documents: `waybill search 'your question'`.",
    ]
    return "\n".join(lines)


def _table(documents: Sequence[Document], stage_names: Sequence[str]) -> list[str]:
    head = ["document", "state", "size", *stage_names]
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(_cells(document, stage_names))} |" for document in documents),
    ]


def _cells(document: Document, stage_names: Sequence[str]) -> list[str]:
    size = f"{document.info.size_bytes:,}" if document.info else ""
    state = "failed" if document.failed else "completed"
    return [_escape(document.label), state, size, *(_stage_cell(document, name) for name in stage_names)]


def _stage_cell(document: Document, name: str) -> str:
    output = document.outputs.get(name)
    if output is None:
        return "failed" if document.failed_in == name else ""
    text = "reused" if output.reused else f"{output.seconds:.2f} s"
    if output.worker:
        text += f" on {output.worker}"
    task_run_id = document.task_run_ids.get(name)
    return f"[{text}](/runs/task-run/{task_run_id})" if task_run_id else text


def _failure(document: Document) -> str:
    message = document.error.message if document.error else ""
    return f"- **{_escape(document.label)}** in {document.failed_in}: {_escape(message)}"


def _warnings(documents: Sequence[Document]) -> list[str]:
    of_each = [(document.label, summary(document.warnings())) for document in documents]
    return [f"- **{_escape(label)}**: {_escape(warnings)}" for label, warnings in of_each if warnings]


def _escape(text: str) -> str:
    """Escape a document's name: it must not become markup in a browser."""
    return " ".join(text.split()).translate(_SPECIAL)
