"""What the end of a run needs of its documents, in memory that does not grow with their number.

A shard hands its documents over when it has ended, and lets them go. Up to `WHOLE` documents are all kept. Of more, the
first ones and those that failed are, up to a number; the others are counted. Their files are in the catalogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from blocks.runtime.in_words import shortened
from tasks.document import Document
from tasks.losses import in_one_line, tally
from tasks.outline import known_figures

# A report of so many documents is some megabytes, and a person who reads it looks for failures only.
WHOLE = 1000
# Of more documents: those that are kept though they did not fail, and those that are kept because they failed.
FIRST, MOST_FAILED = 200, 1000
# Texts of warnings that are counted apart from each other; a warning may quote its document.
_MOST_WARNINGS = 2000
_OTHERS = "other warnings"
# Of the name of a type.
_MAX_KIND_CHARS = 80


class RunResults:
    """How the documents of a run have ended. *expected* is their number."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.failed = 0
        self.made = 0
        self.reused = 0
        self.kinds: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._kept: dict[int, Document] = {}
        self._kept_failed = 0
        # Of kept ones that stand for several documents, by their index.
        self._stands_for: dict[int, int] = {}
        self._unrecorded: list[Document] = []

    def add(self, documents: Iterable[Document]) -> None:
        """Take in documents that the run is done with."""
        for document in documents:
            reused = [deliverable.reused for deliverable in document.deliverables()]
            self.made += reused.count(False)
            self.reused += reused.count(True)
            if kind := kind_of(document):
                self.kinds[kind] += 1
            self._count_warnings(document)
            if document.failed:
                self.failed += 1
                if not document.failure_recorded:
                    self._unrecorded.append(document)
            if self._is_kept(document):
                self._kept[document.index] = document

    def add_entry(self, failed: Document, stands_for: int) -> None:
        """Take in one entry for several documents that failed together."""
        self.failed += stands_for
        if self._is_kept(failed):
            self._kept[failed.index] = failed
            self._stands_for[failed.index] = stands_for

    def failed_besides(self, listed: Iterable[Document]) -> int:
        """Return how many documents failed in addition to those that are *listed*."""
        return self.failed - sum(self._stands_for.get(one.index, 1) for one in listed if one.failed)

    @property
    def documents(self) -> list[Document]:
        """The documents that are kept, in the order of the sources."""
        return [self._kept[index] for index in sorted(self._kept)]

    @property
    def unrecorded(self) -> list[Document]:
        """Documents that failed and whose event is not recorded yet, as when the database did not answer."""
        return [document for document in self._unrecorded if not document.failure_recorded]

    @property
    def warning_summary(self) -> str:
        """The warnings of all documents as one line; empty for none."""
        return in_one_line(self.warnings)

    def report(self, run_id: UUID, seconds: float) -> dict[str, Any]:
        """Return the run as ``process --json`` shows it. ``counts`` are those of all documents, kept or not."""
        kept = self.documents
        left_out = self.expected - len(kept)
        rest = {
            "command": f"waybill files list --run {run_id} --json",
            "path": f"/api/v1/files/list?run_id={run_id}",
        }
        return {
            "run_id": str(run_id),
            "state": "failed" if self.failed else "completed",
            "seconds": round(seconds, 3),
            "warning_summary": self.warning_summary,
            "counts": {
                "documents": self.expected,
                "failed": self.failed,
                "files_made": self.made,
                "files_reused": self.reused,
                "left_out": left_out,
                "failed_left_out": self.failed_besides(kept),
            },
            "rest": rest if left_out else None,
            "documents": [document.as_json() for document in kept],
        }

    def _is_kept(self, document: Document) -> bool:
        if self.expected <= WHOLE or document.index < FIRST:
            return True
        if not document.failed or self._kept_failed == MOST_FAILED:
            return False
        self._kept_failed += 1
        return True

    def _count_warnings(self, document: Document) -> None:
        if warnings := document.warnings():
            self.warnings.update(tally(warnings))
        if len(self.warnings) > _MOST_WARNINGS:
            total = self.warnings.total()
            frequent = dict(self.warnings.most_common(_MOST_WARNINGS // 2))
            frequent[_OTHERS] = total - sum(count for text, count in frequent.items() if text != _OTHERS)
            self.warnings = Counter(frequent)


def kind_of(document: Document) -> str:
    """Return the short name of a document's type, such as ``pdf``; empty for one that was never read."""
    if document.info is None:
        return ""
    types = [known_figures(output.artifact.metadata).get("type") for output in document.outputs.values()]
    found = next((one for one in reversed(types) if one is not None), None)
    return shortened(found, _MAX_KIND_CHARS) if found else document.info.media_type.rpartition("/")[2]
