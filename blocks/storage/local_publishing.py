"""What writers to a local storage share: how a temporary file becomes a blob, and what errors of the system mean."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager

from blocks.errors import InvalidSettings, StorageFull, StorageUnavailable, UnsafeKey, WaybillError
from blocks.runtime.write_errors import is_disk_full
from blocks.storage.backend import Digest, path_taken

# For the owner alone; the umask cannot add to it.
FILE_MODE = 0o600

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
# What open() reports when a link, or a file in place of a folder, is in the way.
_FOREIGN = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG}
# What link() reports on a file system without hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def link_into_place(folder: int, partial: str, name: str, path: str, *, sync_folder: bool = True) -> None:
    """Give the temporary file its final name, durably unless *sync_folder* is off, or raise `KeyExists`."""
    try:
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError as exc:
        raise path_taken(path) from exc
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        _claim_and_rename(folder, partial, name, path)
    if not sync_folder:
        return
    try:
        os.fsync(folder)
    except BaseException:
        os.unlink(name, dir_fd=folder)  # a blob that may not be on disk must not be visible
        raise


def _claim_and_rename(folder: int, partial: str, name: str, path: str) -> None:
    """Publish without hard links: claim the name with an empty file (O_EXCL decides between writers), rename over it.

    A crash between the two leaves an empty file that no catalogue row points at; `delete` of the path removes it.
    """
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=folder))
    except FileExistsError as exc:
        raise path_taken(path) from exc
    try:
        os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise


@contextmanager
def translated(action: str, digest: Digest | None = None) -> Generator[None]:
    """Raise what an `OSError` of the block means for a storage; one of the source of *digest* passes as it is."""
    try:
        yield
    except OSError as exc:
        if digest is not None and exc is digest.source_error:
            raise
        raise storage_error(action, exc) from exc


def storage_error(action: str, exc: OSError) -> WaybillError:
    """Return the error to raise when *action* failed with *exc*."""
    reason = f"cannot {action}: {exc.strerror}"
    if is_disk_full(exc):
        return StorageFull(f"{reason}; free some space and start again")
    if exc.errno in _FOREIGN:
        return UnsafeKey(f"{reason}; remove the link or foreign file from the storage folder")
    if exc.errno in _FORBIDDEN:
        return InvalidSettings(f"{reason}; give this account the right to read and write there")
    return StorageUnavailable(reason)
