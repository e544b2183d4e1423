"""Local sources: the files that a path, a folder or a glob stands for, and opening one of them.

Links to folders are not followed unless they are named. A link to a file is followed inside of the folder that was
given; one that leads out fails by itself. Waybill's own files are left out of folders and refused by name. What a name
means can change after listing, so `open_file` decides again, for what it has opened.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from blocks.errors import SourceNotFound, StorageUnavailable, WaybillError
from blocks.storage import read_chunks
from blocks.storage.driver_failure import LASTING_ERRNOS
from tasks.sources import failure
from tasks.sources.access import FILE_SCHEMES, SourceAccess, inside, leads_out
from tasks.sources.glob import is_folder, is_glob, matching
from tasks.sources.markers import is_marker_name

# A symbolic link that leads nowhere, or to itself.
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """A file to be read: where it is, the resolved folder that it must not lead out of, or why it cannot be read."""

    path: Path
    within: str | None = None
    error: WaybillError | None = None

    @property
    def shown(self) -> str:
        """The path as text. A name that is not valid UTF-8 has its invalid bytes escaped; `path` still opens it."""
        return os.fsencode(self.path).decode(errors="backslashreplace")


def local_path(text: str) -> Path:
    """Return the path that *text* names; ``~`` and ``~user`` are home folders, if there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: office programs put "~$report.docx" next to an open file
        return Path(text)


def path_text(source: str) -> str | None:
    """Return the path of a local source, which may be written as ``file://`` URL; None for a URL of something else."""
    scheme, is_url, rest = source.partition("://")
    if not is_url:
        return source
    return rest if scheme.lower() in FILE_SCHEMES else None


def matches(source: str) -> list[Path]:
    """Return the paths of a local source. A name that exists is itself, even when it looks like a glob."""
    name = path_text(source) or ""
    # Programs write file URLs with %20 for a blank, people paste paths behind file://.
    for text in (name, unquote(name)) if name != source else (name,):
        if text and _is_there(local_path(text)):
            return [local_path(text)]
    return matching(local_path(name)) if is_glob(name) else []


def check(source: str, access: SourceAccess) -> None:
    """Raise `SourceRefused` unless a run may read *source*: a path, or the folder that its wildcards begin in.

    Raises `SourceNotFound` and `StorageUnavailable` when that cannot be looked at.
    """
    try:
        real = os.path.realpath(_given(source))
    except OSError as exc:  # links of other processes in /proc, which may be seen but not read
        raise failure.of_local(exc, source) from exc
    access.check_path(real, source)


def listed(source: str, access: SourceAccess) -> Iterator[LocalFile]:
    """Yield the files that *source* names; each that cannot be read has the reason.

    Raises `SourceRefused` when *source* is not permitted, `SourceNotFound` when a folder or glob holds no file.
    """
    try:
        check(source, access)
    except SourceNotFound as error:
        yield LocalFile(path=local_path(path_text(source) or "").absolute(), error=error)
        return
    found = matches(source)
    if not found and not is_glob(source):
        yield LocalFile(path=local_path(path_text(source) or "").absolute())
        return
    if len(found) == 1 and found[0] == _given(source) and not is_folder(found[0]):
        yield LocalFile(path=found[0].absolute())
        return
    within = os.path.realpath(_given(source))
    empty = True
    for path in found:
        for file in _files_below(path, within, access) if is_folder(path) else _found(path, within, access):
            empty = False
            yield file
    if empty:
        try:
            os.scandir(_given(source)).close()
        except OSError as exc:
            raise failure.of_local(exc, source) from exc
        raise SourceNotFound(f"{source!r} has no files")


def versions(source: str, access: SourceAccess) -> dict[str, tuple[str, float]]:
    """Return the path of every file that *source* names, with its size and time of change, and that time.

    The time (seconds since 1970) is that of the last change of content or name. Empty where a folder or glob has no
    file yet. What cannot be read is left out, and so is a name that is not valid Unicode: no run could be given it.
    Raises `SourceRefused`, `SourceNotFound` when a folder or file is not there, and `StorageUnavailable`.
    """
    check(source, access)
    try:
        files = list(listed(source, access))
    except SourceNotFound:
        if is_folder(_given(source)):
            return {}
        raise
    found: dict[str, tuple[str, float]] = {}
    for file in files:
        try:
            status = file.path.stat()
        except OSError as exc:
            if len(files) == 1 and not is_glob(source):
                raise failure.of_local(exc, file.shown) from exc
            continue  # gone meanwhile, or not readable
        if file.error is None and file.shown == str(file.path):
            changed = max(status.st_mtime, status.st_ctime)
            found[file.shown] = (f"{status.st_size} {status.st_mtime_ns}", changed)
    return found


def open_file(
    path: Path, shown: str, access: SourceAccess | None = None, within: str | None = None
) -> tuple[BinaryIO, os.stat_result]:
    """Open a regular file for reading; return it with its status. Without *access* every place is permitted.

    Raises what `SourceAccess.check_opened` raises, and `StorageUnavailable` for failures that may pass.
    """
    try:
        # Not opened before it is known to be a file: opening a device can have an effect.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceNotFound(f"{shown} is not a regular file")
        # O_NONBLOCK: a FIFO that has taken its place must not hang the run.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as exc:
        raise failure.of_local(exc, shown) from exc
    stream = os.fdopen(descriptor, "rb")
    try:
        return stream, (access or SourceAccess()).check_opened(descriptor, path, shown, within=within)
    except BaseException:
        stream.close()
        raise


def read_file(stream: BinaryIO, opened: os.stat_result, shown: str) -> Iterator[bytes]:
    """Yield the bytes of an open file in pieces. Raises `StorageUnavailable` when it changed since it was *opened*."""
    size = 0
    try:
        for chunk in read_chunks(stream):
            size += len(chunk)
            yield chunk
        now = os.fstat(stream.fileno())
    except OSError as exc:
        raise failure.of_local(exc, shown) from exc
    if (now.st_mtime_ns, now.st_size, size) != (opened.st_mtime_ns, opened.st_size, opened.st_size):
        raise StorageUnavailable(f"{shown} changed while it was read; is it still being written?")


def _is_there(path: Path) -> bool:
    """Return whether *path* exists, or may: then reading it shows what is wrong."""
    try:
        path.lstat()
    except ValueError:
        return False
    except OSError as exc:
        return exc.errno in {errno.EACCES, errno.EPERM} or exc.errno not in LASTING_ERRNOS
    return True


def _given(source: str) -> Path:
    """Return the existing path that *source* names, else the folder that its wildcards begin in, else its path."""
    name = path_text(source) or ""
    found = matches(source) if not is_glob(name) or _is_there(local_path(name)) else []
    if found:
        return found[0]
    path = local_path(name)
    plain = [not glob.has_magic(part) for part in path.parts]
    return path if all(plain) else Path(*path.parts[: plain.index(False)])


def _found(path: Path, within: str, access: SourceAccess, parent: str | None = None) -> Iterator[LocalFile]:
    """Yield *path*, found in a folder or by a glob, unless it is Waybill's own; a link that leads out has the error.

    *parent* is its folder without links, where that is known.
    """
    file = LocalFile(path=path.absolute(), within=within)
    try:
        real = f"{parent}/{path.name}" if parent is not None and not path.is_symlink() else os.path.realpath(path)
    except OSError as exc:  # as in `check`
        yield LocalFile(path=file.path, error=failure.of_local(exc, file.shown))
        return
    if inside(real, within):
        if not access.is_private(real):
            yield file
    else:
        yield LocalFile(path=file.path, error=leads_out(file.shown))


def _files_below(folder: Path, within: str, access: SourceAccess) -> Iterator[LocalFile]:
    unreadable: list[OSError] = []
    top = os.path.realpath(folder)
    for parent, folders, names in os.walk(folder, onerror=unreadable.append):
        real = os.path.normpath(os.path.join(top, os.path.relpath(parent, folder)))  # noqa: PTH118 - many
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not access.is_private(f"{real}/{name}")
        )
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and _is_document(path):
                yield from _found(path, within, access, real)
    for exc in unreadable:
        path = Path(exc.filename).absolute()
        yield LocalFile(path=path, error=failure.of_local(exc, str(path)))


def _is_document(path: Path) -> bool:
    """Whether an entry of a folder is taken for a file. One that cannot be looked at is: reading it shows why."""
    try:
        found = path.stat()
    except OSError as exc:
        return exc.errno not in _NO_FILE
    return stat.S_ISREG(found.st_mode) and not (found.st_size == 0 and is_marker_name(path.name))
