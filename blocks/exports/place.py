"""Where the files of exports are, if the setting `export_storage_path` names a place: a folder or a storage URL.

There they have names that people read, and no other protection than that of the place: folders 0750, files 0600, and
encryption where the export asked for it. Without the setting, an export is a file in custody.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import BlobMissing, InvalidSettings, UnsafeKey
from blocks.redaction import without_password, without_signature
from blocks.settings import Settings
from blocks.storage import Backend, Blob, open_backend, read_chunks


@dataclass(frozen=True)
class ExportPlace:
    """The folder or bucket of finished exports. *address* is its absolute path or its URL, without a password."""

    backend: Backend
    address: str

    @classmethod
    def of(cls, settings: Settings) -> ExportPlace | None:
        """Return the place that *settings* name, None where exports are kept in custody. Raises `InvalidSettings`."""
        url = settings.export_storage_path
        if url is None:
            return None
        check_place(settings)
        return cls._open(settings, url)

    @classmethod
    def holding(cls, settings: Settings, location: str, job_id: str) -> tuple[ExportPlace, str]:
        """Return the place of the file of a job that `locate` has named *location*, and the file's name there.

        Also a place that *settings* do not name any more: they change while files wait for their end, and a relative
        path means another folder for each process. Raises `UnsafeKey` for a file that is not of this job, as SQL may
        name one, and what `open_backend` raises.
        """
        url = settings.export_storage_path
        address, _, name = location.rpartition("/")
        if not address and url is not None:  # older rows have the name alone
            address = _address(url)
        if not address or f"_{job_id}_" not in name:
            raise UnsafeKey(f"the row of export {job_id} names a file that is none of its own: {location[:200]!r}")
        # The address has no password, the setting has it.
        return cls._open(settings, url if url is not None and _address(url) == address else address), name

    @classmethod
    def _open(cls, settings: Settings, url: str) -> ExportPlace:
        shared = settings.storage_options if _same_storage(settings, url) else None
        return cls(open_backend(url, settings.export_storage_options or shared), _address(url))

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
        """Return the path or URL of a file, for people and for `holding`."""
        return f"{self.address}/{name}"


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
    url = _behind_caches(url)
    here, there = _local_folder(url), _local_folder(taken)
    if here is not None and there is not None:
        return here.is_relative_to(there)
    if here is not None or there is not None:
        return False
    return f"{_plain_url(url)}/".startswith(f"{_plain_url(taken)}/")


def _behind_caches(url: str) -> str:
    """Return the place that a chained URL of fsspec (``simplecache::file:///folder``) writes to; others unchanged."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.rpartition('::')[2]}://{rest}" if separator else url


def _address(url: str) -> str:
    """Return the absolute path or the URL of a place, without a password and without a slash at its end."""
    folder = _unresolved_folder(url)
    if folder is not None:
        return str(folder.absolute()).rstrip("/")
    scheme, _, rest = without_signature(without_password(url)).partition("://")
    return f"{scheme}://{rest.rstrip('/')}"


def _local_folder(url: str) -> Path | None:
    """Return the folder of a path or a ``file://`` URL as it is after all links, None of another URL."""
    folder = _unresolved_folder(url)
    return None if folder is None else folder.resolve()


def _unresolved_folder(url: str) -> Path | None:
    scheme, separator, path = url.partition("://")
    if separator and scheme.lower() not in {"file", "local"}:
        return None
    folder = Path(path if separator else url)
    with suppress(RuntimeError):  # no such account: it is refused where it is opened
        folder = folder.expanduser()
    return folder


def _plain_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower().replace('s3a', 's3')}://{rest.strip('/')}"


def _same_storage(settings: Settings, url: str) -> bool:
    """Whether the options of the storage (endpoint, keys) are those of *url* too: where both are of one kind."""
    scheme = url.partition("://")[0].lower()
    return "://" in url and settings.resolved_storage_url.partition("://")[0].lower() == scheme
