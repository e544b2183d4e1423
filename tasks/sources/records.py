"""Sources as JSON, for another process: the part of a run that a slice works on.

A record is read on a machine that sees the same places: it names a path, a URL or a file in custody, and opening it is
checked there again. A URL that holds a password has no record, since others could read it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks import errors
from blocks.errors import InvalidOptions, SourceNotFound, WaybillError
from blocks.redaction import without_password
from tasks.sources.location import Archive, Location
from tasks.sources.remote import RemoteFile
from tasks.sources.source import Source

_PATH, _PATH_BYTES = "path", "path_bytes"


def as_record(source: Source) -> dict[str, Any]:
    """Return what `from_record` reads. Raises `InvalidOptions` for a URL with a password."""
    record: dict[str, Any] = {"text": source.text, "name": _valid(source.name)}
    if source.error is not None:
        record["error"] = [type(source.error).__name__, _valid(source.error.message)]
    if source.path is not None:
        record |= _path_record(source.path)
    if source.within is not None:
        record["within"] = _valid(source.within)
    if source.file_id is not None:
        record["file_id"] = str(source.file_id)
    if source.remote is not None:
        remote = asdict(source.remote)
        if any(without_password(text) != text for text in (source.remote.url, source.remote.location.place)):
            raise InvalidOptions(
                f"{source.text} has a password in its URL, which other machines would have to be sent: "
                "give the workers its credentials in their environment"
            )
        record["remote"] = remote
    return record


def from_record(record: Mapping[str, Any]) -> Source:
    """Return the source of a record."""
    remote = _remote(record["remote"]) if "remote" in record else None
    path = record.get(_PATH)
    if _PATH_BYTES in record:
        path = os.fsdecode(base64.b64decode(record[_PATH_BYTES]))
    return Source(
        text=record["text"],
        name=record["name"],
        path=Path(path) if path is not None else None,
        url=remote.url if remote else None,
        file_id=UUID(record["file_id"]) if "file_id" in record else None,
        within=record.get("within"),
        remote=remote,
        error=error_of(*record["error"]) if "error" in record else None,
    )


def error_of(name: str, message: str) -> WaybillError:
    """Return the error of ours that has this name; of another version it may have none."""
    kind = getattr(errors, name, SourceNotFound)
    is_ours = isinstance(kind, type) and issubclass(kind, WaybillError)
    return (kind if is_ours else SourceNotFound)(message)


def _path_record(path: Path) -> dict[str, str]:
    """A name may hold bytes that are no text."""
    text = str(path)
    if _valid(text) == text:
        return {_PATH: text}
    return {_PATH_BYTES: base64.b64encode(os.fsencode(path)).decode()}


def _valid(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _remote(found: Mapping[str, Any]) -> RemoteFile:
    place = found["location"]
    archives = tuple(Archive(**one) for one in place["archives"])
    return RemoteFile(found["url"], Location(place["head"], archives, place["place"]), found["key"])
