"""Blobs on any file system that fsspec opens (memory, SFTP, object stores).

fsspec's ``open(path, "wb")`` is not atomic anywhere: an error inside the block still commits what was written. So a
failed write is removed again, a finished one is read back and compared, and a key is random and used once: until the
catalogue row says `available`, nobody asks for it. Needs no locking and no rename.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from blocks.errors import BlobMissing, ContentMismatch, InvalidSettings, KeyExists, StorageUnavailable, WaybillError
from blocks.storage.backend import Blob, Digest, Expected, read_chunks
from blocks.storage.key import check_key


class FsspecBackend:
    """A root URL as a `Backend`."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        try:
            filesystem, root = cast("tuple[Any, str]", fsspec.url_to_fs(url, **options))  # pyright: ignore[reportUnknownMemberType]
        except (ValueError, ImportError) as exc:
            scheme = url.split("://", 1)[0]
            raise InvalidSettings(f"no driver for storage URLs of the kind {scheme}:// is installed") from exc
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._scheme = url.split("://", 1)[0]

    def publish(
        self, key: str, chunks: Iterable[bytes], *, expected: Expected | None = None, replace: bool = False
    ) -> Blob:
        """See `Backend.publish`."""
        path = self._path(key)
        with self._translated(f"store {key}"):
            if not replace and self._filesystem.exists(path):
                raise KeyExists(f"the storage key {key} is taken; keys are never used twice", key=key)
            self._filesystem.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
            digest = Digest(expected)
            try:
                with self._filesystem.open(path, "wb") as stream:
                    for chunk in digest.through(chunks):
                        stream.write(chunk)
                self._compare(path, digest.blob)
            except BaseException:
                # Leaving the block above has committed what was written so far; take it away again.
                with contextlib.suppress(Exception):
                    self._filesystem.rm_file(path)
                raise
        return digest.blob

    def open(self, key: str) -> BinaryIO:
        """See `Backend.open`."""
        with self._translated(f"read {key}"):
            return cast("BinaryIO", self._filesystem.open(self._path(key), "rb"))

    def delete(self, key: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again. An interrupted write here is the blob itself."""
        del interrupted
        with self._translated(f"delete {key}"):
            try:
                self._filesystem.rm_file(self._path(key))
            except FileNotFoundError:
                return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.keys`."""
        start = self._path(prefix.rstrip("/")) if prefix else self._root
        with self._translated("list the storage"):
            try:
                found = cast("list[str]", self._filesystem.find(start))
            except FileNotFoundError:
                found = []
        for path in found:
            yield str(path)[len(self._root) :].lstrip("/")

    def leftovers(self, prefix: str = "") -> Iterator[str]:
        """None: an interrupted write is a blob without a row here, which the comparison with the catalogue finds."""
        del prefix
        yield from ()

    def locate(self, key: str) -> str:
        """The URL of the stored bytes."""
        return f"{self._scheme}://{self._path(key).lstrip('/')}"

    def _compare(self, path: str, blob: Blob) -> None:
        digest = Digest(Expected(size=blob.size, sha256=blob.sha256))
        with self._filesystem.open(path, "rb") as stream:
            try:
                for _ in digest.through(read_chunks(stream)):
                    pass
            except ContentMismatch as exc:
                raise StorageUnavailable(f"the storage gives back other bytes than were written: {exc}") from exc

    def _path(self, key: str) -> str:
        return "/".join((self._root, *check_key(key)))

    @contextmanager
    def _translated(self, action: str) -> Generator[None]:
        try:
            yield
        except WaybillError:
            raise
        except FileNotFoundError as exc:
            raise BlobMissing(f"cannot {action}: there is no such blob") from exc
        except OSError as exc:
            raise StorageUnavailable(f"cannot {action}: {exc.strerror or type(exc).__name__}") from exc
