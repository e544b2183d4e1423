"""One document with everything that is known of it: its row in the index, its best facts, its files in custody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blocks.catalog import Artifact, Catalog
from blocks.errors import DocumentNotFound
from blocks.redaction import redacted_source
from waybill.services.documents import document_details, document_list

# A document has an upload and five outputs from each set of options; more are old ones.
MAX_FILES = 200


@dataclass(frozen=True, kw_only=True)
class ShownDocument:
    """A document. *indexed* is None when it is not in the search index; *files* are the newest first."""

    sha256: str
    indexed: dict[str, Any] | None
    facts: Sequence[dict[str, Any]]
    entities: Sequence[dict[str, Any]]
    keywords: Sequence[dict[str, Any]]
    files: Sequence[Artifact]

    @property
    def title(self) -> str:
        """Its title; without one the name of its source."""
        indexed = self.indexed or {}
        return str(indexed.get("title") or "") or self.source.rstrip("/").rpartition("/")[2] or self.sha256

    @property
    def source(self) -> str:
        found = str((self.indexed or {}).get("source") or "")
        return redacted_source(found or (self.files[0].source_file if self.files else ""))

    @property
    def current(self) -> list[Artifact]:
        """The newest file of each stage, and of the upload, in the order of the stages."""
        newest: dict[tuple[str, int], Artifact] = {}
        for one in self.files:
            newest.setdefault((one.kind, one.stage or 0), one)
        return sorted(newest.values(), key=lambda one: (one.stage or 0, one.kind))

    @property
    def warnings(self) -> list[str]:
        """What the stages could not carry over."""
        return [warning for one in self.current for warning in one.warnings]

    @property
    def markdown(self) -> Artifact | None:
        """The newest Markdown of it, cleaned where it was."""
        of_stage = {one.stage: one for one in self.current if one.kind == "stage_output"}
        return of_stage.get(2) or of_stage.get(1)


async def read_document(catalog: Catalog, sha256: str, *, facts: int, entities: int) -> ShownDocument:
    """Return a document that is in the index or has files. Raises `DocumentNotFound`, `CatalogUnavailable`."""
    async with catalog.connection() as connection:
        page = await catalog.list_artifacts(connection, document_sha256=sha256, limit=MAX_FILES)
        try:
            indexed = await document_details(connection, sha256)
        except DocumentNotFound:
            if not page.artifacts:
                raise
            return ShownDocument(sha256=sha256, indexed=None, facts=(), entities=(), keywords=(), files=page.artifacts)
        lists = [
            (await document_list(connection, name, sha256, limit=limit))[name]
            for name, limit in (("facts", facts), ("entities", entities), ("keywords", entities))
        ]
    return ShownDocument(
        sha256=sha256, indexed=indexed, facts=lists[0], entities=lists[1], keywords=lists[2], files=page.artifacts
    )
