"""Where the files of exports are, if the setting `export_storage_path` names a place: a folder or a storage URL.

There they have names that people read, and no other protection than that of the place: folders 0750, files 0600, and
encryption where the export asked for it. Without the setting, an export is a file in custody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blocks.errors import BlobMissing
from blocks.settings import Settings
from blocks.storage import Backend, Blob, open_backend, read_chunks


@dataclass(frozen=True)
class ExportPlace:
    """The folder or bucket of finished exports."""

    backend: Backend

    @classmethod
    def of(cls, settings: Settings) -> ExportPlace | None:
        """Return the place that *settings* name, None where exports are kept in custody. Raises `InvalidSettings`."""
        url = settings.export_storage_path
        if url is None:
            return None
        shared = settings.storage_options if _same_storage(settings, url) else None
        return cls(open_backend(url, settings.export_storage_options or shared))

    def publish(self, name: str, chunks: Iterable[bytes]) -> Blob:
        """Write a file, visible whole or not at all. Raises what `Backend.publish` raises."""
        return self.backend.publish(name, chunks)

    def read(self, name: str) -> Iterable[bytes]:
        """Yield the bytes of a file. Raises `BlobMissing`."""
        with self.backend.open(name) as stream:
            yield from read_chunks(stream)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None when it is not there."""
        try:
            return self.backend.size(name)
        except BlobMissing:
            return None

    def remove(self, name: str) -> bool:
        """Delete a file and what an interrupted writer of it has left. False when there was none."""
        return self.backend.delete(name, interrupted=True)

    def locate(self, name: str) -> str:
        """Return the path or URL of a file, for people."""
        return self.backend.locate(name)


def _same_storage(settings: Settings, url: str) -> bool:
    """Whether the options of the storage (endpoint, keys) are those of *url* too: where both are of one kind."""
    scheme = url.partition("://")[0]
    return "://" in url and settings.resolved_storage_url.partition("://")[0] == scheme
