"""Blobs on any file system that fsspec opens (memory, SFTP, object stores other than S3).

fsspec's ``open(path, "wb")`` is not atomic anywhere: an error inside the block still commits what was written. So a
failed write is removed again, a finished one is read back and compared, and a key is random and used once: until the
catalogue row says `available`, nobody asks for it. Needs no rename, and exclusive creation only to tell two writers of
one key apart: drivers that have none (SFTP's is a check and a write) let the later one win.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
from fsspec.implementations.memory import MemoryFile  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import BlobMissing, ContentMismatch, InvalidSettings, KeyExists, StorageUnavailable, WaybillError
from blocks.storage.backend import PROBE_PATH, Blob, Digest, Expected, read_chunks
from blocks.storage.blob_path import check_blob_path, is_blob_path

# The memory driver looks whether a name is taken and then takes it; one writer of this process at a time does so.
_creating = threading.Lock()


class FsspecBackend:
    """A root URL as a `Backend`."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._scheme = url.split("://", 1)[0]
        try:
            filesystem, root = cast("tuple[Any, str]", fsspec.url_to_fs(url, **options))  # pyright: ignore[reportUnknownMemberType]
        except ImportError as exc:
            raise InvalidSettings(f"the driver for {self._scheme}:// storage is not installed: {exc}") from exc
        except (ValueError, TypeError) as exc:
            raise InvalidSettings(
                f"{self._scheme}:// is no storage that fsspec knows, or its driver does not take this URL with these "
                f"options: {', '.join(sorted(options)) or 'none'}"
            ) from exc
        except Exception as exc:
            raise _failed(f"connect to the {self._scheme}:// storage", exc) from exc
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def publish(
        self, key: str, chunks: Iterable[bytes], *, expected: Expected | None = None, replace: bool = False
    ) -> Blob:
        """See `Backend.publish`. With *replace*, a write that fails takes the earlier blob with it."""
        path = self._path(key)
        digest = Digest(expected)
        with self._translated(f"store {key}", digest):
            self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            try:
                stream = self._filesystem.open(path, "wb") if replace else self._open_new(path)
            except FileExistsError as exc:
                raise _taken(key) from exc
            try:
                with stream:
                    for chunk in digest.through(chunks):
                        stream.write(chunk)
                if not replace:  # else another writer may have replaced it since, and rightly so
                    self._compare(path, digest.blob)
            except BaseException as exc:
                if isinstance(exc, FileExistsError) and exc is not digest.source_error:
                    # Object stores find out when the writer closes; what lies there is the other writer's.
                    raise _taken(key) from exc
                # Leaving the block above has committed what was written so far; take it away again.
                with contextlib.suppress(Exception):
                    self._filesystem.rm_file(path)
                raise
        return digest.blob

    def open(self, key: str) -> BinaryIO:
        """See `Backend.open`."""
        with self._translated(f"read {key}"):
            return self._open_to_read(self._path(key))

    def size(self, key: str) -> int:
        """See `Backend.size`."""
        with self._translated(f"look at {key}"):
            return int(self._filesystem.size(self._path(key)))

    def delete(self, key: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again. An interrupted write here is the blob itself."""
        del interrupted
        with self._translated(f"delete {key}"):
            try:
                self._filesystem.rm_file(self._path(key))
            except FileNotFoundError:
                return False
        return True

    def paths(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.paths`."""
        start = self._path(prefix.rstrip("/")) if prefix else self._root
        with self._translated("list the storage"):
            try:
                found = cast("list[str]", self._filesystem.find(start))
            except FileNotFoundError:
                found = []
        for path in found:
            key = str(path)[len(self._root) :].lstrip("/")
            if is_blob_path(key):
                yield key

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """None: an interrupted write is a blob without a row here, which the comparison with the catalogue finds."""
        del prefix, older_than
        yield from ()

    def abort(self, key: str, *, older_than: timedelta = timedelta(0)) -> int:
        """Nothing to do, see `leftovers`."""
        del older_than
        check_blob_path(key)
        return 0

    def probe(self) -> None:
        """See `Backend.probe`."""
        with contextlib.suppress(BlobMissing):
            self.size(PROBE_PATH)

    def locate(self, key: str) -> str:
        """The URL of the stored bytes."""
        return f"{self._scheme}://{self._path(key).lstrip('/')}"

    def presign(self, key: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """None: what the drivers offer differs too much to be promised."""
        del expires_in, filename, media_type
        check_blob_path(key)
        return None

    def _open_new(self, path: str) -> Any:
        """A writer for a name that is free, exclusive where the driver can be. Raises `FileExistsError`."""
        with _creating:
            if self._filesystem.exists(path):
                raise FileExistsError(path)
            try:
                return self._filesystem.open(path, "xb")
            except (ValueError, NotImplementedError):  # a mode that this driver does not have
                return self._filesystem.open(path, "wb")

    def _open_to_read(self, path: str) -> BinaryIO:
        stream = self._filesystem.open(path, "rb")
        # The memory driver hands every reader the one stored object, with one position for all of them.
        return io.BytesIO(stream.getvalue()) if isinstance(stream, MemoryFile) else cast("BinaryIO", stream)

    def _compare(self, path: str, blob: Blob) -> None:
        digest = Digest(Expected(size=blob.size, sha256=blob.sha256))
        with self._open_to_read(path) as stream:
            try:
                for _ in digest.through(read_chunks(stream)):
                    pass
            except ContentMismatch as exc:
                raise StorageUnavailable(f"the storage gives back other bytes than were written: {exc}") from exc

    def _path(self, key: str) -> str:
        return "/".join((self._root, *check_blob_path(key)))

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


def _failed(action: str, exc: Exception) -> StorageUnavailable:
    """Every driver has errors of its own, and their messages may quote addresses with keys in them."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
    return StorageUnavailable(f"cannot {action}: {reason}")


def _taken(key: str) -> KeyExists:
    return KeyExists(f"the storage key {key} is taken; keys are never used twice", key=key)
