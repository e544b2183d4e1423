"""Local files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_file(target: Path, *, durable: bool = False, replace: bool = True) -> Generator[BinaryIO]:
    """Write *target* (mode 0600) in the block; it appears when the block ends, an error leaves what was there before.

    *durable* syncs file and folder to disk before returning: a power cut cannot lose the file. With *replace* off an
    existing *target* stays and `FileExistsError` is raised, where the file system has hard links. Raises `OSError`.
    """
    # An unpredictable name: in a shared folder another account could have placed a link under a known one. Without the
    # target's own name, which may have all the 255 bytes that a file system allows.
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
            yield stream
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        _publish(partial, target, replace=replace)
        if durable:
            sync_folder(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(target: Path, content: bytes, *, replace: bool = True) -> None:
    """Write *content* as *target*, whole and durable. Raises `OSError`, and `FileExistsError` with *replace* off."""
    with atomic_file(target, durable=True, replace=replace) as stream:
        stream.write(content)


def sync_folder(folder: Path) -> None:
    """Sync *folder* to disk: without it a power cut may lose the name of a new file. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(partial: Path, target: Path, *, replace: bool) -> None:
    if replace:
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # refuses a name that is taken
    except FileExistsError:
        raise
    except OSError:
        partial.replace(target)  # a file system without hard links: two concurrent first writers are not kept apart
