"""The meaning of a SOURCE: a file, a folder, a glob, an fsspec URL, or a file already in custody."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from uuid import UUID

from blocks.errors import InvalidOptions, SourceNotFound
from blocks.redaction import CUSTODY_SCHEME, without_password
from tasks.sources.glob import is_glob, matching
from tasks.sources.remote import listed

_FILE_SCHEME = "file://"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file to be processed. `text`, a path or a URL, is how it is shown and recorded in the catalogue."""

    text: str
    path: Path | None = None
    url: str | None = None
    file_id: UUID | None = None


def expand(sources: Sequence[str]) -> list[Source]:
    """Return every file that *sources* name, each once, in the order given; folders and globs in name order.

    Hidden entries of folders are left out, links to folders are not followed unless they are named. A path that names
    nothing is kept, and so is a folder that cannot be read: each fails by itself and does not stop the others.
    Raises `SourceNotFound` when a folder or glob holds no file, and `InvalidOptions` for what cannot be a source.
    """
    found: dict[Path | str | UUID, Source] = {}
    for source in sources:
        for one in _expand_one(source):
            found.setdefault(one.path or one.url or one.file_id or one.text, one)
    return list(found.values())


def names_nothing(source: str) -> bool:
    """Return whether *source* is a local path or glob that matches nothing."""
    return "://" not in source and not source.startswith(CUSTODY_SCHEME) and not _matches(source)


def local_path(text: str) -> Path:
    """Return the path that *text* names; ``~`` and ``~user`` are home folders, if there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # no such user: office programs put "~$report.docx" next to an open file
        return Path(text)


def _expand_one(source: str) -> Iterator[Source]:
    _check(source)
    if source.startswith(CUSTODY_SCHEME):
        yield _in_custody(source)
    elif "://" in source and not source.startswith(_FILE_SCHEME):
        for url in listed(source):
            yield Source(text=without_password(url).encode(errors="backslashreplace").decode(), url=url)
    else:
        yield from _local(source)


def _check(source: str) -> None:
    """Refuse what the operating system would refuse, or take for the current folder."""
    try:
        encoded = os.fsencode(source)
    except UnicodeEncodeError as exc:
        raise InvalidOptions(f"the source {source!a} is not valid Unicode") from exc
    if b"\0" in encoded or encoded in {b"", os.fsencode(_FILE_SCHEME)}:
        raise InvalidOptions(f"the source {source!a} names nothing; give a file, a folder, a glob or a URL")


def _in_custody(source: str) -> Source:
    try:
        return Source(text=source, file_id=UUID(source.removeprefix(CUSTODY_SCHEME).partition("/")[0]))
    except ValueError as exc:
        raise InvalidOptions(f"{source!r} has no file id; 'waybill files list' shows them") from exc


def _local(source: str) -> Iterator[Source]:
    matches = _matches(source)
    if not matches and not is_glob(source):
        yield _file(local_path(source.removeprefix(_FILE_SCHEME)))
        return
    count = 0
    for path in matches:
        for file in _files_below(path) if path.is_dir() else [path]:
            count += 1
            yield _file(file)
    if not count:
        raise SourceNotFound(f"{source!r} has no files")


def _file(path: Path) -> Source:
    absolute = path.absolute()
    # A name that is not valid UTF-8 is shown with its invalid bytes escaped; the path itself still opens the file.
    return Source(text=os.fsencode(absolute).decode(errors="backslashreplace"), path=absolute)


def _matches(source: str) -> list[Path]:
    """Return the paths of a local source. A name that exists is itself, even when it looks like a glob."""
    name = source.removeprefix(_FILE_SCHEME)
    # Programs write file URLs with %20 for a blank, people paste paths behind file://.
    for text in (name, unquote(name)) if name != source else (name,):
        if text and os.path.lexists(local_path(text)):
            return [local_path(text)]
    return matching(local_path(name)) if is_glob(name) else []


def _files_below(folder: Path) -> Iterator[Path]:
    unreadable: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=lambda exc: unreadable.append(Path(exc.filename))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path
    yield from unreadable
