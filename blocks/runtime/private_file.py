"""Files that hold secrets: read only while no other account can read or exchange them.

As ssh does, a file with too many rights is refused and not mended: another account may have read it already.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from blocks.errors import InvalidSettings

_ROOT = 0


def read_private(path: Path, *, what: str, most_bytes: int, advice: str = "") -> bytes:
    """Return the content of a secret file, one byte more than *most_bytes* if it is longer.

    A symbolic link is followed, and what it leads to is checked. *what* names the file in errors; *advice* ends the
    error for a file that others could read. A file that root owns may be read by a group: a mounted secret is.

    Raises `OSError`, and `InvalidSettings` for a file that is not regular, that another account owns or has rights to,
    or that another account can exchange because it may write to the folder.
    """
    # O_NONBLOCK: a FIFO in its place must not hang the reader.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        _check_file(path, what, os.fstat(stream.fileno()), advice)
        _check_folder(path.resolve().parent, path, what)
        return stream.read(most_bytes + 1)


def _check_file(path: Path, what: str, found: os.stat_result, advice: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InvalidSettings(f"cannot use {path}, {what}: it is not a regular file")
    if found.st_uid not in {os.geteuid(), _ROOT}:
        raise InvalidSettings(
            f"{path}, {what}, belongs to another account (uid {found.st_uid}), which can change it; run waybill as "
            f"that account, or run: chown {os.geteuid()} {path}"
        )
    is_mounted = found.st_uid == _ROOT != os.geteuid()
    too_much = stat.S_IRWXO | (stat.S_IWGRP if is_mounted else stat.S_IRWXG)
    if found.st_mode & too_much:
        raise InvalidSettings(
            f"accounts other than its owner have rights to {path}, {what} (mode {stat.S_IMODE(found.st_mode):04o}, "
            f"expected 0600); run: chmod 600 {path}{advice}"
        )


def _check_folder(folder: Path, path: Path, what: str) -> None:
    found = folder.stat()
    # In a sticky folder such as /tmp, no account can exchange a file of another.
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        raise InvalidSettings(
            f"other accounts can exchange {path}, {what}: they may write to its folder; run: chmod go-w {folder}"
        )
