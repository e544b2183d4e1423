"""The documents of a run: which files it has delivered of each, and why the others failed.

Files are those that the catalogue has for the run, made or reused. The reason of a failure is in the events of the run,
which are kept for a while; a document of an older run that failed is not listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import orjson

from blocks.catalog import Artifact, Catalog
from blocks.redaction import redacted_source
from blocks.webhooks.outbox import RecordedEvent, events_of_run

# Files and events of one run that are read: some hundred documents, which is more than a person looks through.
MAX_FILES = 1000


@dataclass(kw_only=True)
class RunDocument:
    """One document of a run. *files* are ordered by stage; *error* is why it failed, and *failed_in* where."""

    name: str
    source: str
    sha256: str | None
    files: list[Artifact] = field(default_factory=list[Artifact])
    is_done: bool = False
    error: str | None = None
    failed_in: str | None = None

    @property
    def last_stage(self) -> Artifact | None:
        """The output of the last stage that it has passed."""
        return next((one for one in reversed(self.files) if one.stage is not None), None)

    @property
    def warnings(self) -> list[str]:
        """What the stages could not carry over."""
        return [warning for one in self.files for warning in one.warnings]


@dataclass(frozen=True, kw_only=True)
class RunDocuments:
    """The documents of a run, failed ones first. *truncated*: there are more than are listed."""

    documents: list[RunDocument]
    truncated: bool


async def documents_of_run(catalog: Catalog, run_id: UUID) -> RunDocuments:
    """Return the documents of a run as far as they have come. Raises `CatalogUnavailable`."""
    async with catalog.connection() as connection:
        page = await catalog.list_artifacts(connection, run_id=run_id, limit=MAX_FILES)
        events = await events_of_run(connection, run_id, event_types=["stage_chain_completed"], limit=MAX_FILES)
    found: dict[str, RunDocument] = {}
    for artifact in sorted(page.artifacts, key=lambda one: (one.stage or 0, one.created_at)):
        document = found.setdefault(artifact.document_sha256, _of_file(artifact))
        document.files.append(artifact)
    _add_outcomes(found, events)
    documents = sorted(found.values(), key=lambda one: (one.error is None, one.name.casefold(), one.source))
    return RunDocuments(documents=documents, truncated=page.next is not None or len(events) == MAX_FILES)


def _of_file(artifact: Artifact) -> RunDocument:
    source = redacted_source(artifact.source_file)
    return RunDocument(name=_last_part(source), source=source, sha256=artifact.document_sha256)


def _add_outcomes(found: dict[str, RunDocument], events: Sequence[RecordedEvent]) -> None:
    """Note how each document ended. The newest event of a document counts: a run that goes on tries it again."""
    seen: set[str] = set()
    for event in events:
        body = cast("dict[str, Any]", orjson.loads(event.body))
        data = cast("dict[str, Any]", body.get("data") or {})
        context = cast("dict[str, Any]", data.get("context") or {})
        source = str(event.source_file or body.get("source_file") or "")
        sha256 = context.get("document_sha256")
        key = str(sha256 or source)
        if key in seen:
            continue
        seen.add(key)
        label = str(context.get("document") or _last_part(source))
        document = found.setdefault(key, RunDocument(name=label, source=source, sha256=sha256))
        document.is_done = bool(data.get("overall_success"))
        if not document.is_done:
            stages = cast("list[dict[str, Any]]", data.get("stages") or [])
            failed = next((stage for stage in stages if stage.get("status") == "failed"), None)
            document.failed_in = str(failed["name"]) if failed else "custody"
            reason = cast("dict[str, Any]", data.get("metadata") or {}).get("error_message")
            document.error = str(reason or "it failed")


def _last_part(source: str) -> str:
    return source.rstrip("/").rpartition("/")[2] or source
