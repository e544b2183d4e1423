"""Folders of a local storage, walked by descriptors so that no symbolic link leads out of it.

Every step below the root is opened relative to the step before with O_NOFOLLOW: a symbolic link planted inside the
storage is refused, also when it appears between two steps. The root itself may be reached through links; it is the
operator's. Raises plain `OSError`; the back end translates them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blocks.storage.blob_path import MAX_PATH_BYTES

# The owner alone writes and reads; the group may enter, so that access can be given to a backup user. Independent of
# the umask.
FOLDER_MODE = 0o750

_OPEN = os.O_RDONLY | os.O_DIRECTORY


@contextmanager
def folder_below(root: Path, segments: Sequence[str], *, create: bool = False) -> Generator[int]:
    """Open the folder *segments* below *root* as a descriptor; with *create*, make the folders that are missing."""
    try:
        current = os.open(root, _OPEN)
    except FileNotFoundError:
        if not create:
            raise
        _make_root(root)
        current = os.open(root, _OPEN)
    try:
        for segment in segments:
            following = _make(current, segment) if create else _open(current, segment)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def files_below(folder: int, inside: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield folder (from *inside* on, with a slash at its end) and entry of every regular file below *folder*.

    Files of one folder are sorted by name. An entry can be examined until the next one is requested.
    """
    # No blob is deeper than a path is long; a foreign tree may be deeper than the call stack.
    if len(inside) > MAX_PATH_BYTES:
        return
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    folders: list[str] = []
    for entry in listed:
        if entry.is_file(follow_symlinks=False):
            yield inside, entry
        elif entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
    for name in folders:
        try:
            below = _open(folder, name)
        except FileNotFoundError:
            continue  # removed meanwhile
        try:
            yield from files_below(below, f"{inside}{name}/")
        finally:
            os.close(below)


def _make_root(root: Path) -> None:
    """Make the root and the folders missing above it. One that exists keeps its mode: it is its owner's to set."""
    if root.is_dir():
        return
    _make_root(root.parent)
    parent = os.open(root.parent, _OPEN)
    try:
        os.close(_make(parent, root.name))
    finally:
        os.close(parent)


def _make(parent: int, name: str) -> int:
    """Return a descriptor of the folder *name*, which is made when it is missing."""
    try:
        return _open(parent, name)
    except FileNotFoundError:
        pass
    try:
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    except FileExistsError:
        return _open(parent, name)
    folder = _open(parent, name)
    try:
        # The umask may have removed rights; an inherited group (setgid) is the owner's choice and stays.
        os.fchmod(folder, FOLDER_MODE | (os.fstat(folder).st_mode & stat.S_ISGID))
        # The new entry must survive a power cut, or the blob inside it would be lost with it.
        os.fsync(parent)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _open(parent: int, name: str) -> int:
    return os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=parent)
