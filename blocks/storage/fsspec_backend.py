"""Blobs on any file system that fsspec opens (memory, SFTP, object stores other than S3).

fsspec's ``open(path, "wb")`` is not atomic anywhere: an error inside the block still commits what was written. So a
failed write is removed again, a finished one is read back and compared, and a path is random and used once: no reader
asks for it before its catalogue row is `available`. Needs no rename, and exclusive creation only to keep two writers of
one path apart: with a driver that has none (SFTP's is a check and a write) the later one wins.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from fsspec.implementations.memory import MemoryFile  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import (
    BlobMissing,
    ContentMismatch,
    InvalidSettings,
    StorageFull,
    StorageUnavailable,
    UnsafeKey,
    WaybillError,
)
from blocks.runtime.write_errors import is_disk_full
from blocks.storage import driver_failure
from blocks.storage.backend import (
    DEFAULT_THREADS,
    PROBE_PATH,
    Blob,
    Digest,
    Expected,
    StoredObject,
    path_taken,
    read_chunks,
)
from blocks.storage.blob_path import check_blob_path, is_blob_path
from blocks.storage.partial import PartialBlob
from blocks.storage.partial_spooled import SpooledPartial

# The memory driver checks for a name and creates it in two steps; one writer of this process at a time does so.
_creating = threading.Lock()

# What every driver raises for an answer of the storage: it has a connection that works.
_ANSWERS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError, ValueError)
# Credentials and rights: the same call is refused again.
_REFUSALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.METHOD_NOT_ALLOWED}


# Drivers have no error of their own for a storage that is away; deletions that fail one after the other are taken for
# it, because each may have waited for a time limit.
_FAILURES_IN_A_ROW = 3
# Under these names drivers report when a file was last written.
_TIMES = ("mtime", "modified", "LastModified", "last_modified", "updated", "created")


class FsspecBackend:
    """A root URL as a `Backend`."""

    threads = DEFAULT_THREADS

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._scheme = url.split("://", 1)[0]
        self._url, self._options = url, options
        self._filesystem, root = self._connect()
        self._root = root.rstrip("/")

    def _connect(self) -> tuple[Any, str]:
        """Return a driver with a connection of its own, and the root in it."""
        # Not from fsspec's cache of instances, which keeps one whose connection has ended.
        options = {**self._options, "skip_instance_cache": True}
        try:
            return cast("tuple[Any, str]", fsspec.url_to_fs(self._url, **options))  # pyright: ignore[reportUnknownMemberType]
        except ImportError as exc:
            raise InvalidSettings(f"the driver for {self._scheme}:// storage is not installed: {exc}") from exc
        except (ValueError, TypeError) as exc:
            raise InvalidSettings(
                f"fsspec has no {self._scheme}:// storage, or its driver refuses this URL with these options: "
                f"{', '.join(sorted(self._options)) or 'none'}"
            ) from exc
        except Exception as exc:
            raise _failed(f"connect to the {self._scheme}:// storage", exc) from exc

    def _call(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """Call the driver. Once more with a fresh connection, if the failure may be that of the connection.

        Only for what may be done twice.
        """
        try:
            return getattr(self._filesystem, operation)(*arguments, **options)
        except Exception as exc:
            # A connection that has ended has another exception in each driver.
            if isinstance(exc, _ANSWERS) or is_disk_full(exc):
                raise
            self._filesystem, _ = self._connect()
            return getattr(self._filesystem, operation)(*arguments, **options)

    def publish(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        expected: Expected | None = None,
        replace: bool = False,
        sync_folder: bool = True,
    ) -> Blob:
        """See `Backend.publish`. With *replace*, a write that fails removes the earlier blob."""
        del sync_folder  # no driver has anything like it
        full_path = self._full_path(path)
        digest = Digest(expected)
        with self._translated(f"store {path}", digest):
            self._call("makedirs", full_path.rsplit("/", 1)[0], exist_ok=True)
            try:
                stream = self._filesystem.open(full_path, "wb") if replace else self._open_new(full_path)
            except FileExistsError as exc:
                raise path_taken(path) from exc
            try:
                with stream:
                    for chunk in digest.through(chunks):
                        stream.write(chunk)
                if not replace:  # else another writer may rightly have replaced it since
                    self._compare(full_path, digest.blob)
            except BaseException as exc:
                if isinstance(exc, FileExistsError) and exc is not digest.source_error:
                    # Object stores notice when the writer closes; the object is the other writer's.
                    raise path_taken(path) from exc
                # Leaving the block above has committed what was written so far; remove it.
                with contextlib.suppress(Exception):
                    self._filesystem.rm_file(full_path)
                raise
        return digest.blob

    def sync_folders(self, paths: Iterable[str]) -> None:
        """See `Backend.sync_folders`."""

    def open(self, path: str) -> BinaryIO:
        """See `Backend.open`."""
        with self._translated(f"read {path}"):
            return self._open_to_read(self._full_path(path))

    def size(self, path: str) -> int:
        """See `Backend.size`."""
        with self._translated(f"look at {path}"):
            return int(self._call("size", self._full_path(path)))

    def delete(self, path: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again. An interrupted write here is the blob itself."""
        del interrupted
        with self._translated(f"delete {path}"):
            full_path = self._full_path(path)
            try:
                self._call("rm_file", full_path)
            except FileNotFoundError:
                return False
            except Exception as exc:
                # Drivers have no common error for it, and SFTP's says nothing.
                if self._is_folder(full_path):
                    raise UnsafeKey(f"cannot delete {path}: it is a folder") from exc
                raise
        return True

    def _is_folder(self, full_path: str) -> bool:
        with contextlib.suppress(Exception):  # the failure of the deletion is what counts
            return bool(self._filesystem.isdir(full_path))
        return False

    def delete_many(self, paths: Sequence[str]) -> dict[str, str]:
        """See `Backend.delete_many`: one by one. A storage that fails several times running is taken to be away."""
        failed: dict[str, str] = {}
        in_a_row = 0
        for path in paths:
            try:
                self.delete(path)
            except WaybillError as error:
                failed[path] = error.message
                in_a_row += isinstance(error, StorageUnavailable)
                if in_a_row == _FAILURES_IN_A_ROW:
                    raise
            else:
                in_a_row = 0
        return failed

    def paths(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.paths`."""
        return iter(self._found(prefix))

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Backend.objects`. Ages are by the clock of this machine."""
        found = self._found(prefix)
        for path in sorted(found, key=lambda path: path.rpartition("/")):
            modified_at = _modified_at(found[path])
            age = None if modified_at is None else max(timedelta(0), datetime.now(UTC) - modified_at)
            yield StoredObject(path, int(found[path].get("size") or 0), modified_at, age)

    def _found(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """Return what the driver says of each blob, by path."""
        start = self._full_path(prefix.rstrip("/")) if prefix else self._root
        with self._translated("list the storage"):
            try:
                found = cast("dict[str, Mapping[str, Any]]", self._call("find", start, detail=True))
            except FileNotFoundError:
                return {}
        listed = {full_path[len(self._root) :].lstrip("/"): entry for full_path, entry in found.items()}
        return {path: entry for path, entry in listed.items() if is_blob_path(path)}

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """Yield nothing: an interrupted write is a blob without a row here, found by comparison with the catalogue."""
        del prefix, older_than
        yield from ()

    def abort(self, path: str, *, older_than: timedelta = timedelta(0)) -> int:
        """Return 0, see `leftovers`."""
        del older_than
        check_blob_path(path)
        return 0

    def partial(self, path: str, *, scratch: Path, size: int) -> PartialBlob:
        """See `Backend.partial`: a file in *scratch*, stored at the end."""
        del size
        return SpooledPartial(self, path, scratch)

    def probe(self) -> None:
        """See `Backend.probe`."""
        with contextlib.suppress(BlobMissing):
            self.size(PROBE_PATH)

    def locate(self, path: str) -> str:
        """Return the URL of the stored bytes."""
        return f"{self._scheme}://{self._full_path(path).lstrip('/')}"

    def presign(self, path: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """Return None: the drivers' signed URLs differ too much to promise anything."""
        del expires_in, filename, media_type
        check_blob_path(path)
        return None

    def _open_new(self, full_path: str) -> Any:
        """Open a new file for writing, exclusively where the driver can. Raises `FileExistsError`."""
        with _creating:
            if self._filesystem.exists(full_path):
                raise FileExistsError(full_path)
            try:
                return self._filesystem.open(full_path, "xb")
            except (ValueError, NotImplementedError):  # a mode that this driver does not have
                return self._filesystem.open(full_path, "wb")

    def _open_to_read(self, full_path: str) -> BinaryIO:
        stream = self._call("open", full_path, "rb")
        # The memory driver gives every reader the one stored object, with one position for all of them.
        return io.BytesIO(stream.getvalue()) if isinstance(stream, MemoryFile) else cast("BinaryIO", stream)

    def _compare(self, full_path: str, blob: Blob) -> None:
        digest = Digest(Expected(size=blob.size, sha256=blob.sha256))
        with self._open_to_read(full_path) as stream:
            try:
                for _ in digest.through(read_chunks(stream)):
                    pass
            except ContentMismatch as exc:
                raise StorageUnavailable(f"the storage returns other bytes than were written: {exc}") from exc

    def _full_path(self, path: str) -> str:
        return "/".join((self._root, *check_blob_path(path)))

    @contextmanager
    def _translated(self, action: str, digest: Digest | None = None) -> Generator[None]:
        try:
            yield
        except WaybillError:
            raise
        except Exception as exc:
            if digest is not None and exc is digest.source_error:
                raise
            if digest is None and isinstance(exc, FileNotFoundError):
                raise BlobMissing(f"cannot {action}: there is no such blob") from exc
            raise _failed(action, exc) from exc


def _modified_at(entry: Mapping[str, Any]) -> datetime | None:
    """Return when a file was last written, as far as its driver reports it."""
    value = next((entry[name] for name in _TIMES if entry.get(name) is not None), None)
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    return None


def _failed(action: str, exc: Exception) -> StorageUnavailable | StorageFull | InvalidSettings:
    # Every driver has errors of its own, and their messages may quote URLs with credentials in them.
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
    # Drivers of HTTP report the status of the answer. SFTP has no word for a full disk: its "Failure" may pass.
    status = driver_failure.http_status(exc)
    if is_disk_full(exc) or status == HTTPStatus.INSUFFICIENT_STORAGE:
        return StorageFull(f"cannot {action}: {reason}: the storage or its quota is full; free some space")
    if status in _REFUSALS:
        return InvalidSettings(f"cannot {action}: the storage answered {status}; see the storage options")
    if (why := driver_failure.refusal(exc)) is not None:
        return InvalidSettings(f"cannot {action}: {why}; see the storage URL and its options")
    return StorageUnavailable(f"cannot {action}: {reason}")
