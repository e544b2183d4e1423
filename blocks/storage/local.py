"""Blobs in a local folder, published atomically.

The sequence: a temporary file in the *final* folder (O_EXCL), write, fsync, `link` to the final name, fsync the folder,
unlink the temporary name. `link` refuses an existing name, so of two writers exactly one wins; a crash at any point
leaves either the whole blob or none.
"""

from __future__ import annotations

import errno
import math
import os
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from blocks.errors import InvalidSettings, StorageFull, UnsafeKey
from blocks.runtime.prefetch import prefetch
from blocks.storage.backend import DEFAULT_THREADS, Blob, Digest, Expected, StoredObject, blob_missing
from blocks.storage.blob_path import PARTIAL_SUFFIX, check_blob_path, is_blob_path
from blocks.storage.folders import files_below, folder_below
from blocks.storage.local_publishing import FILE_MODE, link_into_place, storage_error, translated
from blocks.storage.partial import PartialBlob
from blocks.storage.partial_local import LocalPartial

# A file system with less than this, and less than a twentieth of its size, is full.
_ROOM_BYTES = 64 * 1024 * 1024
# A disk writes once for all that wait for it at the same time.
_CONCURRENT_SYNCS = 8


class LocalBackend:
    """A folder as a `Backend`. The root is made on the first write; it may itself be a symbolic link."""

    threads = DEFAULT_THREADS

    def __init__(self, root: Path) -> None:
        self._root = root
        # Folders whose own entry is known to be on disk; 4,352 of each kind at most.
        self._durable_folders: set[str] = set()

    @property
    def root(self) -> Path:
        return self._root

    def publish(
        self,
        path: str,
        chunks: Iterable[bytes],
        *,
        expected: Expected | None = None,
        replace: bool = False,
        sync_folder: bool = True,
    ) -> Blob:
        """See `Backend.publish`. The blob and its folder entry are on disk when this returns."""
        *folders, name = check_blob_path(path)
        digest = Digest(expected)
        with (
            translated(f"store {path} in {self._root}", digest),
            folder_below(self._root, folders, create=True) as folder,
        ):
            partial = f".{name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
            descriptor = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=folder
            )
            try:
                blob = _write(descriptor, chunks, digest)
                if replace:
                    os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
                    if sync_folder:
                        os.fsync(folder)
                else:
                    link_into_place(folder, partial, name, path, sync_folder=sync_folder)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=folder)
        return blob

    def sync_folders(self, paths: Iterable[str]) -> None:
        """See `Backend.sync_folders`."""
        folders = {path.rpartition("/")[0] for path in paths}
        with translated(f"sync folders of {self._root}"):
            for inside in sorted(folders):
                with self._folder(inside) as folder:
                    os.fsync(folder)
                self._sync_above(inside)

    def _sync_above(self, inside: str) -> None:
        """Make the entry of the folder itself durable, once: who has made it may not have synced it yet."""
        while inside and inside not in self._durable_folders:
            above = inside.rpartition("/")[0]
            with self._folder(above) as folder:
                os.fsync(folder)
            self._durable_folders.add(inside)
            inside = above

    def open(self, path: str) -> BinaryIO:
        """See `Backend.open`."""
        *folders, name = check_blob_path(path)
        with translated(f"read {path}"):
            try:
                with folder_below(self._root, folders) as folder:
                    # O_NONBLOCK: a FIFO planted in the storage must not hang the reader.
                    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            except FileNotFoundError as exc:
                raise blob_missing(f"read {path}", path) from exc
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise _foreign(path)
            return os.fdopen(descriptor, "rb")

    def size(self, path: str) -> int:
        """See `Backend.size`."""
        *folders, name = check_blob_path(path)
        with translated(f"look at {path}"):
            try:
                with folder_below(self._root, folders) as folder:
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError as exc:
                raise blob_missing(f"look at {path}", path) from exc
            if not stat.S_ISREG(found.st_mode):
                raise _foreign(path)
            return found.st_size

    def delete(self, path: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again."""
        *folders, name = check_blob_path(path)
        with translated(f"delete {path}"):
            try:
                with folder_below(self._root, folders) as folder:
                    if interrupted:
                        _unlink_partials(folder, name, math.inf)
                    os.unlink(name, dir_fd=folder)
                    os.fsync(folder)
            except FileNotFoundError:
                return False
        return True

    def delete_many(self, paths: Sequence[str]) -> dict[str, str]:
        """See `Backend.delete_many`. Each folder is opened and synced once in a call."""
        failed: dict[str, str] = {}
        by_folder: dict[str, list[str]] = {}
        for path in paths:
            try:
                check_blob_path(path)
            except UnsafeKey as error:
                failed[path] = error.message
            else:
                folder, _, name = path.rpartition("/")
                by_folder.setdefault(folder, []).append(name)
        with translated(f"remove blobs from {self._root}"):
            try:
                os.close(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY))
            except FileNotFoundError:
                return failed  # nothing was stored there yet
            gone = {folder: self._unlink(folder, names, failed) for folder, names in sorted(by_folder.items())}
        # Only now, and several at a time: the first one commits the removals of all folders on a file system with a
        # journal, and each of the others still waits for the disk.
        with ThreadPoolExecutor(_CONCURRENT_SYNCS) as pool:
            for reasons in pool.map(self._sync, gone.keys(), gone.values()):
                failed |= reasons
        return failed

    def _unlink(self, inside: str, names: Sequence[str], failed: dict[str, str]) -> list[str]:
        """Unlink *names* in a folder, and add to *failed* what cannot be. Return the others, if the folder exists."""
        gone: list[str] = []
        try:
            with self._folder(inside) as folder:
                for name in names:
                    try:
                        os.unlink(name, dir_fd=folder)
                    except FileNotFoundError:
                        pass  # it may have been unlinked without a sync
                    except OSError as exc:
                        if exc.errno == errno.EROFS:
                            raise  # so are all others
                        failed |= _reasons(inside, [name], exc)
                        continue
                    gone.append(name)
        except FileNotFoundError:
            return []
        except OSError as exc:
            if exc.errno == errno.EROFS:
                raise
            failed |= _reasons(inside, names, exc)
        return gone

    def _sync(self, inside: str, gone: Sequence[str]) -> dict[str, str]:
        """Make it durable that *gone* are unlinked. Return the reason for each one if that fails."""
        if not gone:
            return {}
        try:
            with self._folder(inside) as folder:
                os.fsync(folder)
        except FileNotFoundError:
            return {}  # the folder itself is gone
        except OSError as exc:
            return _reasons(inside, gone, exc)
        return {}

    def _folder(self, inside: str) -> AbstractContextManager[int]:
        return folder_below(self._root, inside.split("/") if inside else ())

    def abort(self, path: str, *, older_than: timedelta = timedelta(0)) -> int:
        """See `Backend.abort`: temporary files."""
        *folders, name = check_blob_path(path)
        with translated(f"clear up after {path}"):
            try:
                with folder_below(self._root, folders) as folder:
                    return _unlink_partials(folder, name, _written_before(older_than))
            except FileNotFoundError:
                return 0

    def paths(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.paths`. Symbolic links are not followed and not listed."""
        for folder, entry in self._walk(prefix):
            if is_blob_path(path := f"{folder}{entry.name}"):
                yield path

    def objects(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Backend.objects`."""
        for folder, entry in self._walk(prefix):
            if is_blob_path(path := f"{folder}{entry.name}"):
                with suppress(FileNotFoundError):  # deleted since its folder was read
                    found = entry.stat(follow_symlinks=False)
                    age = timedelta(seconds=max(0.0, time.time() - found.st_mtime))
                    yield StoredObject(path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), age)

    def leftovers(self, prefix: str = "", *, older_than: timedelta = timedelta(0)) -> Iterator[str]:
        """See `Backend.leftovers`: paths of temporary files. Their age is the time since they were last written."""
        written_before = _written_before(older_than)
        for folder, entry in self._walk(prefix):
            blob_name = _blob_name_of_partial(entry.name)
            if blob_name is None or not is_blob_path(f"{folder}{blob_name}"):
                continue
            with suppress(FileNotFoundError):  # its writer has finished
                if entry.stat(follow_symlinks=False).st_mtime <= written_before:
                    yield f"{folder}{blob_name}"

    def partial(self, path: str, *, scratch: Path, size: int) -> PartialBlob:
        """See `Backend.partial`: a temporary file next to the blob's place."""
        del scratch, size
        return LocalPartial(self._root, path)

    def probe(self) -> None:
        """See `Backend.probe`. Checks the nearest existing parent where the root does not exist yet."""
        with translated("look at the storage"):
            existing = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
            folder = os.open(existing, os.O_RDONLY | os.O_DIRECTORY)
            try:
                found = os.fstatvfs(folder)
            finally:
                os.close(folder)
            # The kernel remounts a file system read-only after an error.
            if found.f_flag & os.ST_RDONLY or not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
                raise InvalidSettings("the storage folder cannot be written to")
            left = found.f_frsize * (found.f_bfree if os.geteuid() == 0 else found.f_bavail)
            if left < min(_ROOM_BYTES, found.f_frsize * found.f_blocks // 20):
                raise StorageFull(f"the file system of the storage has {left // 2**20} MiB left; free some space")

    def locate(self, path: str) -> str:
        """Return the path of the stored bytes."""
        return str(self._root.joinpath(*check_blob_path(path)))

    def presign(self, path: str, *, expires_in: timedelta, filename: str, media_type: str) -> str | None:
        """Return None: a folder has no URL that others could open."""
        del expires_in, filename, media_type
        check_blob_path(path)
        return None

    def _walk(self, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
        """Yield folder (with a slash at its end) and entry of every regular file below *prefix*."""
        segments = check_blob_path(prefix.rstrip("/")) if prefix else ()
        with translated(f"list {prefix or 'the storage'}"):
            try:
                with folder_below(self._root, segments) as start:
                    yield from files_below(start, "".join(f"{segment}/" for segment in segments))
            except FileNotFoundError:
                return  # nothing was stored there yet


def _write(descriptor: int, chunks: Iterable[bytes], digest: Digest) -> Blob:
    try:
        for chunk in prefetch(digest.through(chunks)):
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.blob


def _foreign(path: str) -> UnsafeKey:
    return UnsafeKey(f"{path} is not a regular file; remove it from the storage folder")


def _written_before(older_than: timedelta) -> float:
    """Return the latest modification time, in seconds since the epoch, of a file that is *older_than*."""
    return time.time() - older_than.total_seconds() if older_than else math.inf


def _unlink_partials(folder: int, name: str, written_before: float) -> int:
    with os.scandir(folder) as entries:
        partials = [entry.name for entry in entries if _blob_name_of_partial(entry.name) == name]
    removed = 0
    for partial in partials:
        # The writer, or another process that cleans up, may have removed it; the blob itself is still to be deleted.
        with suppress(FileNotFoundError):
            if os.stat(partial, dir_fd=folder, follow_symlinks=False).st_mtime <= written_before:
                os.unlink(partial, dir_fd=folder)
                removed += 1
    return removed


def _reasons(folder: str, names: Iterable[str], exc: OSError) -> dict[str, str]:
    paths = [f"{folder}/{name}" if folder else name for name in names]
    return {path: storage_error(f"delete {path}", exc).message for path in paths}


def _blob_name_of_partial(entry: str) -> str | None:
    """``.NAME.16 characters.partial`` -> ``NAME``; None for anything else."""
    if not (entry.startswith(".") and entry.endswith(PARTIAL_SUFFIX)):
        return None
    name, _, token = entry[1 : -len(PARTIAL_SUFFIX)].rpartition(".")
    return name if name and len(token) == 16 else None
