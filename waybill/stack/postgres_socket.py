"""The directory of the database's Unix socket.

A socket's path is limited to about a hundred bytes, and libpq reads some characters of it as syntax. Owns the choice
between the data directory and a short one, and that nobody else can pass through it: that, and no password, is what
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
from waybill.stack.account import ServerAccount

# Bytes in the address of a Unix socket: 108 on Linux, 104 on macOS, one of them for the end mark.
_SOCKET_PATH_LIMIT_BYTES = 103
SOCKET_NAME = ".s.PGSQL.5432"
# libpq takes a comma for the next host and "@" for Linux' abstract names; anything unusual goes to a plain directory.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._+-]*")

# Not the directory of TMPDIR: that may be long too, and commands with different ones must still find the same socket.
_SHORT_DIRECTORY = Path("/tmp")  # noqa: S108



def socket_directory(data: Path) -> Path:
    """Where the server of the cluster *data* has its socket; the same for every command."""
    def _socket_directory(self) -> Path:
        path = self._data
        if _PLAIN_PATH.fullmatch(str(path)) and len(str(path / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT_BYTES:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return _SHORT_DIRECTORY / f"waybill-{os.geteuid()}-{digest}"



    def _make_socket_directory(self, account: ServerAccount | None) -> Path:
        path = self._socket_directory()
        if path == self._data:
            return path
        owner = account.uid if account else os.geteuid()
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            if account is not None:
                os.chown(path, account.uid, account.gid)
        found = path.lstat()
        # The directory for temporary files is everybody's: a stranger's directory would hand our database to them.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise StackUnavailable(
                f"{path}, where the database socket goes, belongs to somebody else or is open to others; "
                "remove it, or use a shorter WAYBILL_HOME without special characters"
            )
        return path


