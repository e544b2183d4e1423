"""Render the summary of a run for Prefect's UI: every document, what it holds, what failed, and where its files are.

It is personal data: names, titles, the beginning of texts, and facts. Everything of that kind that a run leaves in
Prefect is found by the run's id: its artifacts, all with `flow_run_id`, its log lines, its states and task runs. A page
that has anything of a document has its name, whole and in the spelling of `MARKDOWN_SIGNS`, and the sha256 of one that
was read: by the name `waybill forget` knows the pages that it replaces.

Number and size of what is shown are bounded. Text of documents is escaped, or in a fence that it cannot close.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from blocks.naming import MARKDOWN_SIGNS
from blocks.runtime.in_words import counted, language, shortened, size
from flows.processing.previews import Preview
from flows.processing.results import RunResults, kind_of
from tasks.document import Deliverable, Document
from tasks.losses import number, summary
from tasks.outcome import LONG_WAIT_SECONDS

# No person reads a longer table, and Prefect's UI slows down; the command line lists everything.
MAX_ROWS = 200
# Of a reason, or of a title: as much as a table has room for. Names are bounded.
_MAX_REASON_CHARS, _MAX_CELL_CHARS = 400, 80

_HEAD = ("document", "title", "type", "size", "pages", "language", "chunks", "facts", "warnings")
_NUMERIC = frozenset({"size", "pages", "chunks", "facts", "warnings"})


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """What the page is about. *gateway* is the URL of the pages that it links to; without one there are no links."""

    run_id: UUID
    results: RunResults
    stage_names: Sequence[str]
    seconds: float
    previews: Mapping[Document, Preview]
    gateway: str | None = None

    def markdown(self) -> str:
        """Return a Markdown page: counts, failures with their reasons, the documents, warnings, previews, stages."""
        results, documents = self.results, self.results.documents
        failed = [document for document in documents if document.failed]
        rows = [*failed, *(document for document in documents if not document.failed)][:MAX_ROWS]
        completed = results.expected - results.failed
        lines = [f"# {completed:,} of {counted(results.expected, 'document')} completed", ""]
        lines += [f"{self._counts()}{self._link(' ', 'Open this run', f'runs/{self.run_id}')}", ""]
        if of_all := results.warning_summary:
            lines += [f"{escape(of_all)}.", ""]
        if failed:
            lines += ["## Failed", "", *(_failure(document) for document in failed[:MAX_ROWS]), ""]
        lines += ["## Documents", "", *self._documents(rows)]
        if warnings := _warnings(rows):
            lines += ["", "## Warnings", "", *warnings]
        for document, preview in self.previews.items():
            lines += ["", *_preview(document, preview)]
        lines += ["", "## Stages", "", *self._stages(rows)]
        if len(rows) < results.expected:
            lines += ["", f"{results.expected - len(rows):,} more are not shown."]
        lines += [
            "",
            f"The files: `waybill files list --run {self.run_id}`, then `waybill files get ID`. "
            "Ask all documents: `waybill search 'your question'`.",
        ]
        return "\n".join(lines)

    def _counts(self) -> str:
        return f"{counted(self.results.made, 'file')} made, {self.results.reused:,} reused, {self.seconds:.1f} s."

    def _link(self, before: str, text: str, path: str) -> str:
        return f"{before}[{text}]({self.gateway}/{path})" if self.gateway else ""

    def _documents(self, documents: Sequence[Document]) -> list[str]:
        rows = [self._cells(document) for document in documents]
        if not any(row[-1] for row in rows):
            return _table(_HEAD[:-1], [row[:-1] for row in rows], numeric=_NUMERIC)
        return _table(_HEAD, rows, numeric=_NUMERIC)

    def _cells(self, document: Document) -> list[str]:
        known = document.outline()
        name = escape(document.label)
        if document.info is not None and not document.failed:
            name = self._link("", name, f"documents/{document.info.sha256}") or name
        return [
            f"{name} (failed)" if document.failed else name,
            escape(shortened(known.title or "", _MAX_CELL_CHARS)),
            escape(kind_of(document)),
            size(document.info.size_bytes) if document.info else "",
            _number(known.pages),
            escape(language(known.language)) if known.language else "",
            _number(known.chunks),
            _number(known.facts),
            str(number(document.warnings()) or ""),
        ]

    def _stages(self, documents: Sequence[Document]) -> list[str]:
        rows = [
            [escape(document.label), *(_stage_cell(document, name) for name in self.stage_names)]
            for document in documents
        ]
        return _table(("document", *self.stage_names), rows)


def escape(text: str) -> str:
    """Escape a text of a document: it must not become markup in a browser."""
    return " ".join(text.split()).translate(MARKDOWN_SIGNS)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numeric: frozenset[str] = frozenset()) -> list[str]:
    rule = "|".join("---:" if name in numeric else "---" for name in head)
    return [f"| {' | '.join(head)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def _number(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _stage_cell(document: Document, name: str) -> str:
    output = document.outputs.get(name)
    if output is None:
        return "failed" if document.failed_in == name else ""
    text = "reused" if output.reused else _time(output)
    task_run_id = document.task_run_ids.get(name)
    return f"[{text}](/runs/task-run/{task_run_id})" if task_run_id else text


def _time(output: Deliverable) -> str:
    text = f"{output.seconds:.2f} s"
    if output.waiting_seconds >= LONG_WAIT_SECONDS:
        text += f" after {output.waiting_seconds:.0f} s"
    return f"{text} on {output.worker}" if output.worker else text


def _failure(document: Document) -> str:
    message = document.error.message if document.error else ""
    return f"- **{escape(document.label)}** in {document.failed_in}: {escape(shortened(message, _MAX_REASON_CHARS))}"


def _warnings(documents: Sequence[Document]) -> list[str]:
    of_each = [(document.label, summary(document.warnings())) for document in documents]
    return [f"- **{escape(label)}**: {escape(warnings)}" for label, warnings in of_each if warnings]


def _preview(document: Document, preview: Preview) -> list[str]:
    lines = [f"## {escape(document.label)}", ""]
    if preview.text:
        # Longer than any in the text, which so cannot end it.
        longest = max((len(run) for run in re.findall("`+", preview.text)), default=0)
        fence = "`" * max(3, longest + 1)
        lines += [f"{fence}text", preview.text, fence, ""]
    lines += [f"- {escape(fact)}" for fact in preview.facts]
    return lines
