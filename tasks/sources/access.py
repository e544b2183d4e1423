"""Which places a run may read from: the setting `allowed_sources`, and what no setting opens.

Never readable: the home with everything below it, the key files and the settings file. Owns only the decision; the
modules that open files and URLs ask it at listing time and again for what they have opened.
"""

from __future__ import annotations

import math
import os
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Self
from urllib.parse import urlsplit

import httpx

from blocks.errors import SourceNotFound, SourceRefused, StorageUnavailable
from blocks.redaction import without_password
from blocks.settings import Settings, settings_file

FILE_SCHEMES = ("file", "local")
# The same place under two names.
_SAME_SCHEMES = {"s3a": "s3", "ssh": "sftp", "gcs": "gs", "abfss": "abfs"}
_DEFAULT_PORTS = {"http": 80, "https": 443, "sftp": 22, "ftp": 21}
# macOS: the path of an open file, as /proc has it on Linux.
_F_GETPATH, _LONGEST_PATH = 50, 1024

# File systems stamp changes by a clock that is read a few times a second, or by whole seconds.
_CTIME_LAG_SECONDS = 2.0

_SETTING = "WAYBILL_ALLOWED_SOURCES (allowed_sources)"


class SourceAccess:
    """The decision for one run. All paths are compared with symbolic links resolved."""

    def __init__(
        self, *, allowed: Sequence[str] | None = None, home: Path | None = None, private_files: Sequence[Path] = ()
    ) -> None:
        self._home = None if home is None else os.path.realpath(home)
        self._private_files = [os.path.realpath(path) for path in private_files]
        self._folders: list[str] | None = None
        self._prefixes: list[str] | None = None
        self._inodes_lock = Lock()
        self._private_inodes: set[tuple[int, int]] = set()
        self._inodes_known_at = -math.inf
        if allowed is not None:
            local = {place: _local_part(place) for place in allowed}
            self._folders = [os.path.realpath(Path(path).expanduser()) for path in local.values() if path is not None]
            self._prefixes = [place for place, path in local.items() if path is None]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the decision for these settings."""
        keys = (
            settings.resolved_storage_identity_file,
            settings.resolved_link_keys_file,
            settings.resolved_webhook_identity_file,
            settings_file(),
        )
        return cls(
            allowed=settings.allowed_sources, home=settings.home, private_files=[key for key in keys if key is not None]
        )

    def is_private(self, real: str) -> bool:
        """Return whether *real*, a path without symbolic links, is the home, below it, or a key or settings file."""
        return real in self._private_files or (self._home is not None and inside(real, self._home))

    def check_path(self, real: str, shown: str) -> None:
        """Raise `SourceRefused` unless a run may read *real*, a path without symbolic links. *shown* names it."""
        if self.is_private(real):
            raise _private(shown)
        if self._folders is not None and not any(inside(real, folder) for folder in self._folders):
            raise _outside(shown)

    def check_url(self, url: str) -> None:
        """Raise `SourceRefused` unless a run may read *url*, which names no local file."""
        if self._prefixes is not None and not any(_covers(prefix, url) for prefix in self._prefixes):
            raise _outside(without_password(url))

    def check_opened(self, descriptor: int, path: Path, shown: str, *, within: str | None) -> os.stat_result:
        """Check the file that was opened as *path*, whatever the name means by now, and return its status.

        *within* is the resolved folder that it was found in. Raises `SourceRefused`, `SourceNotFound` for what is not a
        regular file, and `StorageUnavailable` for one that was exchanged meanwhile.
        """
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_dev in _kernel_devices():
            raise SourceNotFound(f"{shown} is not a regular file")
        real = _path_of(descriptor) or os.path.realpath(path)
        try:
            same = os.path.samestat(Path(real).stat(), found)
        except OSError:
            same = False
        if not same:
            raise StorageUnavailable(f"{shown} was replaced while it was being opened; read it again")
        self.check_path(real, shown)
        if self._may_be_alias(descriptor, found) and self._is_private_inode(found):
            raise _private(shown)
        if within is not None and not inside(real, within):
            raise leads_out(shown)
        return found

    def _may_be_alias(self, descriptor: int, found: os.stat_result) -> bool:
        """Whether the path may hide that the file is private: a second hard link, or a bind mount."""
        if found.st_dev not in self._private_devices:
            return False
        mount = _mount_of(descriptor)
        return found.st_nlink > 1 or mount is None or mount != self._home_mount

    @cached_property
    def _private_devices(self) -> set[int]:
        """The devices of the home, of what is directly in it, and of the other private files."""
        paths = list(map(Path, self._private_files))
        if self._home is not None:
            paths += [Path(self._home), *Path(self._home).glob("*")]
        found: set[int] = set()
        for path in paths:
            with suppress(OSError):
                found.add(path.lstat().st_dev)
        return found

    @cached_property
    def _home_mount(self) -> str | None:
        try:
            descriptor = os.open(self._home or "/", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return _mount_of(descriptor)
        finally:
            os.close(descriptor)

    def _is_private_inode(self, file: os.stat_result) -> bool:
        """Whether *file* is a private file by another name; asked only when a path alone cannot decide."""
        identity = (file.st_dev, file.st_ino)
        with self._inodes_lock:
            # A run itself writes into the home: a file that changed since it was looked up may be new there.
            if identity not in self._private_inodes and file.st_ctime >= self._inodes_known_at - _CTIME_LAG_SECONDS:
                self._inodes_known_at = time.time()
                self._private_inodes = self._read_private_inodes()
            return identity in self._private_inodes

    def _read_private_inodes(self) -> set[tuple[int, int]]:
        """Return device and inode of every private file."""
        found: set[tuple[int, int]] = set()
        walked = os.walk(self._home) if self._home is not None else ()
        paths = [os.path.join(folder, name) for folder, _, names in walked for name in names]  # noqa: PTH118 - many
        for path in [*self._private_files, *paths]:
            with suppress(OSError):
                status = os.lstat(path)
                found.add((status.st_dev, status.st_ino))
        return found


def inside(path: str, folder: str) -> bool:
    """Return whether *path* is *folder* or below it; both without symbolic links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def leads_out(shown: str) -> SourceRefused:
    """Return the error for a link that was found in a folder and leads to a file outside of it."""
    return SourceRefused(f"{shown} leads out of the given folder through a symbolic link; name the file itself instead")


def _private(shown: str) -> SourceRefused:
    return SourceRefused(f"{shown} belongs to Waybill itself (WAYBILL_HOME, its keys or settings): no run may read it")


def _outside(shown: str) -> SourceRefused:
    return SourceRefused(f"{shown} is outside of what {_SETTING} permits")


def _local_part(place: str) -> str | None:
    scheme, is_url, rest = place.partition("://")
    if not is_url:
        return place
    return rest if scheme.lower() in FILE_SCHEMES else None


def _covers(prefix: str, url: str) -> bool:
    """Return whether *url* is *prefix* or below it: same scheme, host and port, and its path or one below that."""
    try:
        wanted, given = _parts(prefix), _parts(url)
    except (ValueError, httpx.InvalidURL):
        return False
    if wanted[0] != given[0] or not given[0][1]:
        return False
    path, whole = wanted[1].rstrip("/"), given[1]
    if not path:
        return True
    # Servers resolve such parts, so a path that has them may end anywhere.
    plain = not {"..", "."} & set(whole.replace("\\", "/").split("/"))
    return plain and (whole.rstrip("/") == path or whole.startswith(path + "/"))


def _parts(url: str) -> tuple[tuple[str, str, int | None], str]:
    """Return the place of *url* (scheme, host or bucket, port) and its path, plain."""
    scheme, _, rest = url.partition("://")
    scheme = _SAME_SCHEMES.get(scheme.lower(), scheme.lower())
    if scheme not in _DEFAULT_PORTS:  # a bucket, container or repository: its name and the keys in it are plain text
        bucket, _, key = rest.partition("/")
        return (scheme, bucket, None), f"/{key}"
    if scheme in {"http", "https"}:
        asked = httpx.URL(url)  # as the client takes it apart that sends the request
        return (scheme, asked.raw_host.decode().rstrip("."), asked.port or _DEFAULT_PORTS[scheme]), asked.path
    parts = urlsplit(f"{scheme}://{rest.partition('/')[0]}")
    port = parts.port or _DEFAULT_PORTS[scheme]
    return (scheme, (parts.hostname or "").rstrip("."), port), "/" + rest.partition("/")[2]


def _kernel_devices() -> set[int]:
    """Return the devices of /proc and /sys, whose files are answers of the kernel, not documents."""
    found: set[int] = set()
    for folder in ("/proc", "/sys"):
        with suppress(OSError):
            found.add(Path(folder).stat().st_dev)
    return found - {Path("/").stat().st_dev}


def _path_of(descriptor: int) -> str | None:
    """Return the path of an open file as the kernel knows it, without symbolic links; None where it does not say."""
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, _F_GETPATH, bytes(_LONGEST_PATH)).rstrip(b"\0"))
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return None


def _mount_of(descriptor: int) -> str | None:
    """Return the id of the mount that an open file is on; None where the kernel does not say."""
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    except OSError:
        return None
    return next((line for line in lines if line.startswith("mnt_id:")), None)
