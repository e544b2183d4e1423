"""The file that an export reads: one csv or parquet file, wherever a run may read, as a local copy.

The same rules as for documents decide what may be read (`tasks.sources`), and the same drivers read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from blocks.custody import Custody
from blocks.errors import InvalidOptions, TooLarge
from blocks.naming import clean_display_name
from blocks.runtime.threads import StopCheck, in_thread
from blocks.runtime.write_errors import write_errors
from blocks.settings import Settings
from tasks.sources import Source, SourceReader, expand, open_file, read_file


async def fetch_input(text: str, folder: Path, *, custody: Custody, settings: Settings) -> Path:
    """Copy the one file that *text* names (a path, a URL or ``waybill:ID``) to *folder*, under its own suffix.

    Raises `InvalidOptions` unless it is one file, and what reading sources raises.
    """
    with SourceReader.of(settings) as reader:
        found = await asyncio.to_thread(expand, [text], reader)
        if len(found) != 1:
            raise InvalidOptions(f"the input of an export is one file, and {text} names {len(found)}")
        (source,) = found
        if source.error is not None:
            raise source.error
        if source.file_id is not None:
            artifact = await custody.get(source.file_id)
            target = _target(folder, artifact.filename)
            await custody.fetch(artifact, target)
            return target
        target = _target(folder, source.name or source.text)
        await in_thread(lambda check: _copy(_pieces(source, reader), target, check, settings))
    return target


def _target(folder: Path, name: str) -> Path:
    """Return the path of the copy: its suffixes say its form and compression."""
    suffixes = "".join(PurePosixPath(clean_display_name(name)).suffixes[-2:])
    return folder / f"input{suffixes}"


def _pieces(source: Source, reader: SourceReader) -> Iterator[bytes]:
    if source.remote is not None:
        yield from reader.read(source.remote)
    elif source.path is not None:
        stream, opened = open_file(source.path, source.text, reader.access, within=source.within)
        with stream:
            yield from read_file(stream, opened, source.text)


def _copy(pieces: Iterator[bytes], target: Path, check: StopCheck, settings: Settings) -> None:
    size, most = 0, settings.max_upload_mib * 2**20
    with write_errors(f"a copy of the input in {target.parent}"), target.open("wb") as local:
        for piece in pieces:
            check()
            size += len(piece)
            if size > most:
                raise TooLarge(f"the input is larger than {settings.max_upload_mib} MiB (WAYBILL_MAX_UPLOAD_MIB)")
            local.write(piece)
