"""Resumable writes in a local folder: in place, so that a finished blob is never copied.

The bytes lie in a temporary file in the *final* folder, under a name that clean-ups know as that of an interrupted
writer; `finish` links it to the blob's name. Its length is the offset: the kernel keeps what was written when the
process is killed, and `offset` waits for the disk before it reports it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from blocks.errors import TransferLocked
from blocks.storage.backend import blob_missing, path_taken
from blocks.storage.blob_path import PARTIAL_SUFFIX, check_blob_path
from blocks.storage.folders import folder_below
from blocks.storage.local_publishing import FILE_MODE, link_into_place, storage_error, translated
from blocks.storage.partial import wrong_offset, wrong_size

# In place of the random token of a temporary file, and as long: the next process finds the file by it.
_MARK = "resumable-upload"
# Written to disk this often, so that the last request does not wait for gigabytes.
_SYNC_BYTES = 64 * 1024 * 1024


class LocalPartial:
    """See `PartialBlob`."""

    def __init__(self, root: Path, path: str) -> None:
        *self._folders, self._name = check_blob_path(path)
        self._root = root
        self._path = path
        self._partial = f".{self._name}.{_MARK}{PARTIAL_SUFFIX}"
        self._writing: int | None = None
        self._unsynced = 0

    def offset(self) -> int:
        """See `PartialBlob.offset`."""
        try:
            descriptor = self._open_to_read("look at")
        except FileNotFoundError:
            return 0
        try:
            with translated(f"store {self._path} in {self._root}"):
                size = os.fstat(descriptor).st_size  # first: what a writer adds meanwhile is not on disk yet
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return size

    def append(self, offset: int, chunks: Iterable[bytes]) -> int:
        """See `PartialBlob.append`. Raises `TransferLocked` while another process of this machine writes."""
        with translated(f"store {self._path} in {self._root}"):
            descriptor = self._open_to_write()
            end = os.fstat(descriptor).st_size
            if end != offset:
                raise wrong_offset(offset, end)
        for chunk in chunks:  # its errors are not the storage's
            with translated(f"store {self._path} in {self._root}"):
                end = self._write(descriptor, chunk, end)
        return end

    def _write(self, descriptor: int, chunk: bytes, end: int) -> int:
        view = memoryview(chunk)
        while view:
            written = os.pwrite(descriptor, view, end)
            view, end = view[written:], end + written
        self._unsynced += len(chunk)
        if self._unsynced >= _SYNC_BYTES:
            os.fdatasync(descriptor)
            self._unsynced = 0
        return end

    def read(self) -> BinaryIO:
        """See `PartialBlob.read`. Raises `BlobMissing` before the first byte."""
        try:
            return os.fdopen(self._open_to_read("read"), "rb")
        except FileNotFoundError as exc:
            raise blob_missing(f"read {self._path}", self._path) from exc

    def finish(self, size: int) -> None:
        """See `PartialBlob.finish`."""
        if (offset := self.offset()) != size:
            raise wrong_size(size, offset)
        with (
            translated(f"store {self._path} in {self._root}"),
            folder_below(self._root, self._folders, create=True) as folder,
        ):
            if self._is_linked(folder):
                os.fsync(folder)
            else:
                if not size:  # nothing was ever added
                    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
                    os.close(os.open(self._partial, flags, FILE_MODE, dir_fd=folder))
                link_into_place(folder, self._partial, self._name, self._path)
            with suppress(FileNotFoundError):
                os.unlink(self._partial, dir_fd=folder)

    def _is_linked(self, folder: int) -> bool:
        """Return whether an interrupted `finish` came as far as the link. Raises `KeyExists` for another's blob."""
        try:
            blob = os.stat(self._name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        try:
            partial = os.stat(self._partial, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return True
        if not os.path.samestat(blob, partial):
            raise path_taken(self._path)
        return True

    def discard(self) -> None:
        """See `PartialBlob.discard`."""
        self.close()
        with (
            translated(f"clear up after {self._path}"),
            suppress(FileNotFoundError),
            folder_below(self._root, self._folders) as folder,
        ):
            os.unlink(self._partial, dir_fd=folder)

    def close(self) -> None:
        """See `PartialBlob.close`."""
        descriptor, self._writing = self._writing, None
        if descriptor is not None:
            os.close(descriptor)

    def _open_to_write(self) -> int:
        if self._writing is not None:
            return self._writing
        with folder_below(self._root, self._folders, create=True) as folder:
            descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, FILE_MODE, dir_fd=folder)
            try:
                # Ends with the process, however that ends; where the file system has no locks, the caller's must do.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise TransferLocked(f"another process writes to {self._path}; try again in a moment") from None
            except OSError:
                pass
            os.fsync(folder)
        self._writing = descriptor
        return descriptor

    def _open_to_read(self, action: str) -> int:
        """Open the temporary file, or the blob once that is there. Raises `FileNotFoundError` for neither."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            with folder_below(self._root, self._folders) as folder:
                try:
                    descriptor = os.open(self._partial, flags, dir_fd=folder)
                except FileNotFoundError:
                    descriptor = os.open(self._name, flags, dir_fd=folder)
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise storage_error(f"{action} {self._path}", exc) from exc
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise path_taken(self._path)
        return descriptor
