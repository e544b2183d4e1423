"""What a step has made of a document, in one line of words: for the log of its run, and for its summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from blocks.runtime.in_words import counted, language, size
from tasks.document import Deliverable, Document
from tasks.document_events import CUSTODY
from tasks.losses import summary
from tasks.outline import known_figures, whole

# Below this a wait is no news; above it the bar of a task is visibly longer than the time of its work.
LONG_WAIT_SECONDS = 1.0
_COUNTS = (("pages", "page"), ("chunks", "chunk"), ("facts", "fact"), ("entities", "entity"))


def described(document: Document, where: str) -> str:
    """Return ``report.pdf: 12 pages, English, 4.2 kB, 0.81 s``: what the step *where* delivers for *document*."""
    output = document.upload if where == CUSTODY else document.outputs.get(where)
    if output is None:
        return f"{document.label}: nothing"
    parts = [*counts(output.artifact.metadata), size(output.artifact.size)]
    if where == CUSTODY:
        parts.insert(0, output.artifact.media_type)
    parts.append(_time(output, where))
    warnings = summary(output.artifact.warnings)
    return f"{document.label}: {', '.join(part for part in parts if part)}{f'; {warnings}' if warnings else ''}"


def counts(metadata: Mapping[str, Any]) -> list[str]:
    """Return what *metadata* of an output counts, with its nouns, and the language; anything else is passed over."""
    rows, figures = metadata.get("rows"), known_figures(metadata)
    found = _stored(cast("Mapping[str, Any]", rows)) if isinstance(rows, dict) else figures
    words = [counted(found[name], one) for name, one in _COUNTS if name in found]
    if "language" in figures:
        words.insert(1 if found.get("pages") else 0, language(figures["language"]))
    return words


def _stored(rows: Mapping[str, Any]) -> dict[str, int]:
    """Return how many rows of each kind the search index has after the ingestor."""
    kept = ("inserted", "updated", "unchanged")
    return {name: sum(whole(done.get(what)) or 0 for what in kept) for name, done in _objects(rows)}


def _objects(rows: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(name, cast("Mapping[str, Any]", done)) for name, done in rows.items() if isinstance(done, dict)]


def _time(output: Deliverable, where: str) -> str:
    if output.reused:
        return "reused"
    if where == CUSTODY:
        return ""
    text = f"{output.seconds:.2f} s"
    if output.waiting_seconds >= LONG_WAIT_SECONDS:
        text += f" after {output.waiting_seconds:.1f} s of waiting for a worker"
    return f"{text} on {output.worker}" if output.worker else text
