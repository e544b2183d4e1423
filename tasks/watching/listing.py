"""The files of a watched place with their versions, and whether each of them is known to be whole."""

from __future__ import annotations

import time
from datetime import timedelta

from blocks.errors import InvalidOptions
from blocks.redaction import CUSTODY_SCHEME, LIST_SCHEME, redacted_source
from blocks.watching import Found
from tasks.sources import SourceReader, check_sources
from tasks.sources.local_files import path_text, versions


def check_place(source: str, reader: SourceReader) -> None:
    """Raise `SourceRefused` or `InvalidOptions` unless *source* can be watched; opens no connection."""
    if source.startswith(LIST_SCHEME):
        raise InvalidOptions("a list of sources is read by one run; watch a folder, a glob or a URL")
    if source.startswith(CUSTODY_SCHEME):
        raise InvalidOptions("a file in custody never changes; watch a folder, a glob or a URL")
    if redacted_source(source) != source:
        raise InvalidOptions(
            "the URL holds a password or a signature, which a watch would keep in Prefect; give the credentials to the "
            "process that looks, in the environment or a configuration file"
        )
    if path_text(source) is not None and not source.startswith("/") and "://" not in source:
        raise InvalidOptions(f"the path {source} is not whole; write it from the root, as in /data/inbox")
    check_sources([source], reader)


def list_place(source: str, reader: SourceReader, settle: timedelta) -> list[Found]:
    """Return the files of *source*, in name order.

    A local file is whole when nothing has changed it for *settle*; a file in an object store or behind HTTP always is.
    Of others only a second look can say it. Raises what listing a source raises.
    """
    if path_text(source) is None:
        found, whole = reader.versions(source)
        return [Found(source=name, version=found[name], is_whole=whole) for name in sorted(found)]
    # The clock of a network share may be another one: a file of the future is looked at twice.
    latest = time.time() - settle.total_seconds()
    return [
        Found(source=name, version=version, is_whole=changed <= latest)
        for name, (version, changed) in sorted(versions(source, reader.access).items())
    ]
