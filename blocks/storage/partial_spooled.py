"""Resumable writes for a storage that has none: the bytes wait in a file of this machine, and are stored at the end.

`TailFile` is that file. A process on another machine does not see it, and the sender begins again there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from blocks.errors import BlobMissing, KeyExists
from blocks.runtime.atomic_file import sync_folder
from blocks.storage.blob_path import check_blob_path
from blocks.storage.local_publishing import FILE_MODE, translated
from blocks.storage.partial import wrong_offset, wrong_size

if TYPE_CHECKING:
    from blocks.storage.backend import Backend

_FOLDER_MODE = 0o700
_READ_BYTES = 1024 * 1024


def scratch_name(path: str) -> str:
    """Return the beginning of the names of all files in a scratch folder that belong to the blob *path*."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


class TailFile:
    """Bytes that wait in the folder *scratch*, as the file *name*. Blocks; one thread at a time writes."""

    def __init__(self, scratch: Path, name: str) -> None:
        self.path = scratch / name
        self._writing: int | None = None

    def size(self) -> int:
        """Return how many bytes there are, after they have been made durable; 0 without the file."""
        with translated(f"look at {self.path}"):
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                return 0
            try:
                size = os.fstat(descriptor).st_size
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return size

    def write(self, chunk: bytes | memoryview, offset: int) -> None:
        """Write *chunk* at *offset*; a file that is not there is made, durably."""
        with translated(f"keep what has arrived in {self.path.parent}"):
            if self._writing is None:
                self.path.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
                self._writing = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE)
                sync_folder(self.path.parent)
            view = memoryview(chunk)
            while view:
                written = os.pwrite(self._writing, view, offset)
                view, offset = view[written:], offset + written

    def open(self) -> BinaryIO:
        """Open it for reading. Raises `FileNotFoundError`."""
        return os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW), "rb")

    def remove(self) -> None:
        """Close and delete it. Idempotent."""
        self.close()
        with translated(f"clear up {self.path}"), suppress(FileNotFoundError):
            self.path.unlink()

    def close(self) -> None:
        """Close it; it stays."""
        descriptor, self._writing = self._writing, None
        if descriptor is not None:
            os.close(descriptor)


class SpooledPartial:
    """See `PartialBlob`. While it is being stored, a second file marks that a blob under the path is of this write."""

    def __init__(self, backend: Backend, path: str, scratch: Path) -> None:
        check_blob_path(path)
        self._backend, self._path = backend, path
        self._file = TailFile(scratch, f"{scratch_name(path)}.whole")
        self._publishing = TailFile(scratch, f"{scratch_name(path)}.publishing")

    def offset(self) -> int:
        """See `PartialBlob.offset`."""
        if self._file.path.exists():
            return self._file.size()
        try:
            return self._backend.size(self._path)
        except BlobMissing:
            return 0

    def append(self, offset: int, chunks: Iterable[bytes]) -> int:
        """See `PartialBlob.append`."""
        end = self._file.path.stat().st_size if self._file.path.exists() else self.offset()
        if end != offset:
            raise wrong_offset(offset, end)
        for chunk in chunks:
            self._file.write(chunk, end)
            end += len(chunk)
        return end

    def read(self) -> BinaryIO:
        """See `PartialBlob.read`. Raises `BlobMissing` before the first byte."""
        try:
            return self._file.open()
        except FileNotFoundError:
            return self._backend.open(self._path)

    def finish(self, size: int) -> None:
        """See `PartialBlob.finish`."""
        if (offset := self.offset()) != size:
            raise wrong_size(size, offset)
        if not self._file.path.exists():
            try:
                self._backend.size(self._path)
            except BlobMissing:
                self._file.write(b"", 0)  # an empty blob: nothing was ever added
            else:
                return self._publishing.remove()
        is_again = self._publishing.path.exists()
        self._publishing.write(b"", 0)
        try:
            with self._file.open() as stream:
                self._backend.publish(self._path, iter(lambda: stream.read(_READ_BYTES), b""), replace=is_again)
        except KeyExists:
            self._publishing.remove()
            raise
        self._file.remove()
        self._publishing.remove()
        return None

    def discard(self) -> None:
        """See `PartialBlob.discard`."""
        self._file.remove()
        self._publishing.remove()

    def close(self) -> None:
        """See `PartialBlob.close`."""
        self._file.close()
        self._publishing.close()
