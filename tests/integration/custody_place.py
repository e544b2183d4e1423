"""A custody with what lies under it, for tests that look at both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.catalog import Artifact, Catalog, Draft, Kind, StageMark
from blocks.custody import Custody
from blocks.custody.inline_manifest import MARKED_BYTES, may_have_inline_manifest
from blocks.custody.manifest import is_manifest_path, manifest_path
from blocks.keys import StorageKeys
from blocks.storage import Backend, open_backend
from tests.storage_keys import ENCRYPTED


@dataclass(frozen=True)
class Place:
    """A custody with what lies under it, for looking at from outside."""

    custody: Custody
    catalog: Catalog
    backend: Backend
    folder: Path

    @classmethod
    def at(
        cls,
        catalog: Catalog,
        folder: Path,
        keys: StorageKeys = ENCRYPTED,
        url: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Place:
        """On the storage *url* with its *options*, by default the local *folder*."""
        backend = open_backend(url or str(folder), options)
        return cls(Custody(catalog=catalog, backend=backend, keys=keys), catalog, backend, folder)

    def with_keys(self, keys: StorageKeys) -> Place:
        """The same files with other keys."""
        custody = Custody(catalog=self.catalog, backend=self.backend, keys=keys)
        return Place(custody, self.catalog, self.backend, self.folder)

    async def states(self) -> dict[str, int]:
        async with self.catalog.transaction() as connection:
            return (await self.catalog.statistics(connection))["by_state"]

    async def rows(self, columns: str) -> list[tuple[Any, ...]]:
        """Columns of every row, in order of the ids."""
        async with self.catalog.connection() as connection:
            cursor = await connection.execute(f"select {columns} from artifacts order by file_id".encode())  # noqa: S608
            return [tuple(row.values()) for row in await cursor.fetchall()]

    def nothing_lies_in_the_storage(self) -> bool:
        on_disk = [path for path in self.folder.rglob("*") if not path.is_dir()]
        return not list(self.backend.paths()) and not list(self.backend.leftovers()) and not on_disk

    def blobs(self) -> list[str]:
        """The keys of what is stored; each has its manifest, in its header or beside it."""
        keys = list(self.backend.paths())
        blobs = sorted(key for key in keys if not is_manifest_path(key))
        beside = [manifest_path(key) for key in blobs if not self.has_inline_manifest(key)]
        assert sorted(keys) == sorted([*blobs, *beside])
        return blobs

    def has_inline_manifest(self, key: str) -> bool:
        with self.backend.open(key) as stream:
            return may_have_inline_manifest(stream.read(MARKED_BYTES))

    def stored_bytes(self, artifact: Artifact) -> bytes:
        with self.backend.open(artifact.location) as stream:
            return stream.read()

    def rewrite(self, artifact: Artifact, content: bytes) -> None:
        """Put other bytes in the place of those that are stored, as somebody could who holds the storage."""
        self.backend.publish(artifact.location, [content], replace=True)

    def stored(self, artifact: Artifact) -> Path:
        return Path(self.custody.locate(artifact))


def draft(*, kind: Kind = "upload", run_id: UUID | None = None, keep_for: timedelta = timedelta(days=1)) -> Draft:
    return Draft(
        kind=kind,
        filename="report.pdf",
        source_file="/docs/report.pdf",
        document_sha256="d" * 64,
        media_type="application/pdf",
        keep_for=keep_for,
        stage=StageMark(number=1, name="convert", key="c" * 64) if kind == "stage_output" else None,
        run_id=run_id,
    )
