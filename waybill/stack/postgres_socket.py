"""The directory of the database's Unix socket.

A socket's path is limited to about a hundred bytes, and libpq reads some characters of it as syntax. Owns the choice
between the data directory and a short one, and that no other account can pass through it: this, and no password,
protects the database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from pathlib import Path

from blocks.errors import StackUnavailable
from waybill.stack.account import ServerAccount, server_uid

# Bytes in the address of a Unix socket: 108 on Linux, 104 on macOS, one of them for the end mark.
_SOCKET_PATH_LIMIT_BYTES = 103
SOCKET_NAME = ".s.PGSQL.5432"
# libpq takes a comma for the next host and "@" for Linux' abstract names; anything unusual goes to a plain directory.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+-]*")

# Not the directory of TMPDIR: that may be long too, and commands with different ones must still find the same socket.
_SHORT_DIRECTORY = Path("/tmp")  # noqa: S108


def socket_directory(data: Path) -> Path:
    """Return the folder of the socket of the cluster *data*; the same for every command."""
    if _PLAIN_PATH.fullmatch(str(data)) and len(str(data / SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES:
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return _SHORT_DIRECTORY / f"waybill-{os.geteuid()}-{digest}"


def make_socket_directory(data: Path, account: ServerAccount | None) -> Path:
    """Create the directory unless it is the cluster's own. Raises `StackUnavailable` when another account owns it."""
    path = socket_directory(data)
    if path == data:
        return path
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        if account is not None:
            os.chown(path, account.uid, account.gid)
    if not is_private(path):
        raise StackUnavailable(
            f"{path}, where the database socket goes, belongs to another account or is open to others; "
            "remove it, or use a shorter WAYBILL_HOME without special characters"
        )
    return path


def remove_socket_directory(data: Path) -> None:
    """Remove the directory of a server that has ended, unless it is the cluster's own."""
    path = socket_directory(data)
    if path != data and is_private(path):
        shutil.rmtree(path, ignore_errors=True)


def is_private(directory: Path) -> bool:
    """Return whether *directory* belongs to the server's account and no other account may enter it.

    Every account can create the short directories: in one of another account, commands would talk to its server.
    """
    try:
        found = directory.lstat()
    except OSError:
        return False
    open_to_others = found.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == server_uid() and not open_to_others
