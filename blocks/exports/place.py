"""Where the files of exports are, if the setting `export_storage_path` names a place: a folder or a storage URL.

There they have names that people read, and no other protection than that of the place: folders 0750, files 0600, and
encryption where the export asked for it. Without the setting, an export is a file in custody.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import BlobMissing, InvalidSettings
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
        check_place(settings)
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


def check_place(settings: Settings) -> None:
    """Raise `InvalidSettings` for a place that is, or lies in, the home or the storage of custody."""
    url = settings.export_storage_path
    # Listings, sweeps and backups take what lies there for Waybill's own files.
    for name, taken in (("the home", str(settings.home)), ("the storage", settings.resolved_storage_url)):
        if url is not None and _is_within(url, taken):
            raise InvalidSettings(
                f"WAYBILL_EXPORT_STORAGE_PATH is in {name} ({taken}), where files are Waybill's own; name a folder or "
                "a prefix outside of it, or leave it out, and exports are kept in custody"
            )


def _is_within(url: str, taken: str) -> bool:
    """Return whether *url* is, or lies in, the folder or prefix *taken*."""
    here, there = _local_folder(url), _local_folder(taken)
    if here is not None and there is not None:
        return here.is_relative_to(there)
    if here is not None or there is not None:
        return False
    return f"{_plain_url(url)}/".startswith(f"{_plain_url(taken)}/")


def _local_folder(url: str) -> Path | None:
    """Return the folder of a path or a ``file://`` URL, None of another URL."""
    scheme, separator, path = url.partition("://")
    if separator and scheme not in {"file", "local"}:
        return None
    folder = Path(path if separator else url)
    with suppress(RuntimeError):  # no such account: it is refused where it is opened
        folder = folder.expanduser()
    return folder.resolve()


def _plain_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.replace('s3a', 's3')}://{rest.strip('/')}"


def _same_storage(settings: Settings, url: str) -> bool:
    """Whether the options of the storage (endpoint, keys) are those of *url* too: where both are of one kind."""
    scheme = url.partition("://")[0]
    return "://" in url and settings.resolved_storage_url.partition("://")[0] == scheme
