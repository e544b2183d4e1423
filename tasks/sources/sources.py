"""The meaning of a SOURCE: a file, a folder, a glob, a URL, or a file already in custody."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import PurePosixPath
from uuid import UUID

from blocks.errors import InvalidOptions, SourceNotFound, WaybillError
from blocks.naming import clean_display_name
from blocks.redaction import CUSTODY_SCHEME, LIST_SCHEME, display_source, list_source, without_password
from tasks.sources import local_files
from tasks.sources.local_files import LocalFile, path_text
from tasks.sources.location import taken_apart
from tasks.sources.remote import SourceReader, web_path
from tasks.sources.source import Source
from tasks.sources.source_list import SourceList


def absolute_source(source: str) -> str:
    """Return a local path in full, for a process in another folder; a URL or a file in custody as it is."""
    if source.startswith(LIST_SCHEME):
        return list_source(absolute_source(source.removeprefix(LIST_SCHEME)))
    if "://" in source or source.startswith(CUSTODY_SCHEME):
        return source
    return str(local_files.local_path(source).absolute())


def expand(sources: Iterable[str], reader: SourceReader, listed: Iterable[str] = ()) -> SourceList:
    """Return every file that *sources* name, each once, in the order given; folders and globs in name order.

    *listed* are further sources, of a list: of those what cannot be a source, and a folder or glob that holds no file,
    fails by itself too; but not another list.

    Hidden entries of folders are left out, links to folders are not followed unless they are named. A path that names
    nothing is kept, and so is what cannot be read or is not permitted: each fails by itself and does not stop the
    others. Raises `SourceNotFound` when a folder or glob holds no file, and `InvalidOptions` for what cannot be a
    source.
    """
    given = (one for source in sources for one in _expand_one(source, reader, in_list=False))
    further = (one for source in listed for one in _expand_one(source, reader, in_list=True))
    return SourceList(chain(given, further), scratch=reader.scratch)


def check_sources(sources: Sequence[str], reader: SourceReader) -> None:
    """Check what the texts of *sources* show, without opening a connection.

    Raises `SourceRefused` for one that is not permitted and `InvalidOptions` for one that cannot be a source.
    """
    for source in (one.removeprefix(LIST_SCHEME) for one in sources):
        _check(source)
        if source.startswith(CUSTODY_SCHEME):
            _in_custody(source)
        elif path_text(source) is not None:
            local_files.check(source, reader.access)
        else:
            reader.check(source)


def check_text(source: str) -> None:
    """Check that *source* is one for a process in another folder and on another machine, by its text alone.

    Raises `InvalidOptions`, also for a path that is not whole.
    """
    _check(source)
    if source.startswith(CUSTODY_SCHEME):
        _in_custody(source)
    elif (path := path_text(source)) is None:
        taken_apart(source)
    elif not path.startswith("/"):
        raise InvalidOptions(f"{_shown(source)!r} is no source; give a whole path, a URL or waybill:FILE_ID")


def display_name(source: str) -> str:
    """Return the name to show for the text of a source: the last part of its path, cleaned, without a URL's query."""
    shown = display_source(source)
    web = shown.lower().startswith(("http://", "https://", "file://"))
    last = web_path(shown) if web else shown
    return clean_display_name(PurePosixPath(last).name or source)


def names_nothing(source: str) -> bool:
    """Return whether *source* is a local path or glob that matches nothing, or a list at one."""
    source = source.removeprefix(LIST_SCHEME)
    return "://" not in source and not source.startswith(CUSTODY_SCHEME) and not local_files.matches(source)


def _expand_one(source: str, reader: SourceReader, *, in_list: bool) -> Iterator[Source]:
    try:
        yield from _listed(source, reader)
    except WaybillError as error:
        is_nested = source.startswith(LIST_SCHEME)
        if isinstance(error, InvalidOptions | SourceNotFound) and (is_nested or not in_list):
            raise
        yield Source(text=_shown(source), name=PurePosixPath(source).name, error=error)


def _listed(source: str, reader: SourceReader) -> Iterator[Source]:
    _check(source)
    if source.startswith(LIST_SCHEME):
        raise InvalidOptions(f"{_shown(source)!r} stands in a list, which may not name another list")
    if source.startswith(CUSTODY_SCHEME):
        yield _in_custody(source)
    elif path_text(source) is not None:
        yield from map(_local, local_files.listed(source, reader.access))
    else:
        for file in reader.listed(source):
            yield Source(text=_shown(file.url), url=file.url, name=file.name, remote=file)


def _check(source: str) -> None:
    """Refuse what the operating system would refuse, or take for the current folder."""
    try:
        encoded = os.fsencode(source)
    except UnicodeEncodeError as exc:
        raise InvalidOptions(f"the source {source!a} is not valid Unicode") from exc
    if b"\0" in encoded or path_text(source) == "":
        raise InvalidOptions(f"the source {source!a} names nothing; give a file, a folder, a glob or a URL")


def _in_custody(source: str) -> Source:
    try:
        return Source(text=source, file_id=UUID(source.removeprefix(CUSTODY_SCHEME).partition("/")[0]))
    except ValueError as exc:
        raise InvalidOptions(f"{source!r} has no file id; 'waybill files list' shows them") from exc


def _local(file: LocalFile) -> Source:
    return Source(text=file.shown, path=file.path, name=file.path.name, within=file.within, error=file.error)


def _shown(source: str) -> str:
    return without_password(source).encode(errors="backslashreplace").decode().replace("\0", "\\x00")
