"""Blobs in a local folder, published atomically.

The sequence: a temporary file in the *final* folder (O_EXCL), write, fsync, `link` to the final name, fsync the folder,
unlink the temporary name. `link` refuses an existing name, so of two writers exactly one wins; a crash at any point
leaves either the whole blob or none. Every path is walked from the root by directory descriptors with O_NOFOLLOW, so a
symbolic link planted inside the store leads nowhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from blocks.errors import BlobMissing, KeyExists, StorageFull, StorageUnavailable, UnsafeKey, WaybillError
from blocks.storage.backend import Blob, Digest, Expected
from blocks.storage.key import check_key

# The owner alone writes and reads; the group may walk, so that a backup user can be let in.
FOLDER_MODE = 0o750
FILE_MODE = 0o600
# Begins with a dot and ends with this, so that no temporary file can be taken for a blob.
PARTIAL_SUFFIX = ".partial"

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# File systems without hard links answer with one of these.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


class LocalBackend:
    """A folder as a `Backend`. The root is made on the first write; it may itself be a symbolic link."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(
        self, key: str, chunks: Iterable[bytes], *, expected: Expected | None = None, replace: bool = False
    ) -> Blob:
        """See `Backend.publish`. The blob and its folder entry are on disk when this returns."""
        *folders, name = check_key(key)
        with _translated(f"store {key}"), self._folder(folders, create=True) as folder:
            partial = f".{name}.{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
            descriptor = os.open(
                partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=folder
            )
            try:
                blob = _write(descriptor, chunks, Digest(expected))
                if replace:
                    os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
                else:
                    _link(folder, partial, name, key)
                os.fsync(folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(partial, dir_fd=folder)
        return blob

    def open(self, key: str) -> BinaryIO:
        """See `Backend.open`."""
        *folders, name = check_key(key)
        with _translated(f"read {key}"), self._folder(folders) as folder:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise UnsafeKey(f"{key} is not a regular file; remove it from the storage folder")
            return os.fdopen(descriptor, "rb")

    def delete(self, key: str, *, interrupted: bool = False) -> bool:
        """See `Backend.delete`. Safe to call again."""
        *folders, name = check_key(key)
        with _translated(f"delete {key}"):
            try:
                with self._folder(folders) as folder:
                    if interrupted:
                        _unlink_partials(folder, name)
                    os.unlink(name, dir_fd=folder)
                    os.fsync(folder)
            except FileNotFoundError:
                return False
        return True

    def keys(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.keys`. Symbolic links are not followed and not listed."""
        for folder, name in self._walk(prefix):
            if _blob_name_of_partial(name) is None:
                yield f"{folder}{name}"

    def leftovers(self, prefix: str = "") -> Iterator[str]:
        """See `Backend.leftovers`: the keys of temporary files."""
        for folder, name in self._walk(prefix):
            blob_name = _blob_name_of_partial(name)
            if blob_name is not None:
                yield f"{folder}{blob_name}"

    def locate(self, key: str) -> str:
        """The path of the stored bytes."""
        return str(self._root.joinpath(*check_key(key)))

    def _walk(self, prefix: str) -> Iterator[tuple[str, str]]:
        start = self._root.joinpath(*check_key(prefix.rstrip("/"))) if prefix else self._root
        for folder, _, names in os.walk(start, followlinks=False):
            inside = Path(folder).relative_to(self._root).as_posix()
            for name in names:
                if not Path(folder, name).is_symlink():
                    yield ("" if inside == "." else f"{inside}/", name)

    @contextmanager
    def _folder(self, segments: list[str], *, create: bool = False) -> Generator[int]:
        """A descriptor of the folder below the root; links on the way are refused, missing folders made if asked."""
        if create:
            self._root.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for segment in segments:
                if create:
                    _make_folder(current, segment)
                following = os.open(segment, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current)
                os.close(current)
                current = following
            yield current
        finally:
            os.close(current)


def _write(descriptor: int, chunks: Iterable[bytes], digest: Digest) -> Blob:
    try:
        for chunk in digest.through(chunks):
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return digest.blob


def _link(folder: int, partial: str, name: str, key: str) -> None:
    """Give the temporary file its final name, or raise `KeyExists`."""
    try:
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError as exc:
        raise KeyExists(f"the storage key {key} is taken; keys are never used twice", key=key) from exc
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        _claim_and_rename(folder, partial, name, key)


def _claim_and_rename(folder: int, partial: str, name: str, key: str) -> None:
    """Without hard links: claim the name with an empty file (O_EXCL decides between writers), then rename over it.

    A crash between the two leaves an empty file that no catalogue row points at; `delete` of the key removes it.
    """
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE, dir_fd=folder))
    except FileExistsError as exc:
        raise KeyExists(f"the storage key {key} is taken; keys are never used twice", key=key) from exc
    os.replace(partial, name, src_dir_fd=folder, dst_dir_fd=folder)


def _make_folder(parent: int, name: str) -> None:
    try:
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        return
    # The new entry must survive a power cut, or the blob inside it would be lost with it.
    os.fsync(parent)


def _unlink_partials(folder: int, name: str) -> None:
    with os.scandir(folder) as entries:
        partials = [entry.name for entry in entries if _blob_name_of_partial(entry.name) == name]
    for partial in partials:
        os.unlink(partial, dir_fd=folder)


def _blob_name_of_partial(entry: str) -> str | None:
    """``.NAME.16 hex digits.partial`` -> ``NAME``; None for anything else."""
    if not (entry.startswith(".") and entry.endswith(PARTIAL_SUFFIX)):
        return None
    name, _, token = entry[1 : -len(PARTIAL_SUFFIX)].rpartition(".")
    return name if name and len(token) == 16 else None


@contextmanager
def _translated(action: str) -> Generator[None]:
    try:
        yield
    except WaybillError:
        raise
    except FileNotFoundError as exc:
        raise BlobMissing(f"cannot {action}: there is no such blob") from exc
    except OSError as exc:
        reason = f"cannot {action}: {exc.strerror}"
        if exc.errno in _FULL:
            raise StorageFull(f"{reason}; free some space and start again") from exc
        if exc.errno in {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
            raise UnsafeKey(f"{reason}; a link or a foreign file lies in the storage folder") from exc
        raise StorageUnavailable(reason) from exc
