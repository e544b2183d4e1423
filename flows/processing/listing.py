"""The sources of a run: those of its parameters, and those of the lists that these name."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from pathlib import Path

from blocks.errors import InvalidOptions
from blocks.open_custody import open_block_custody
from blocks.redaction import LIST_SCHEME
from blocks.runtime.write_errors import write_errors
from blocks.settings import Settings
from tasks.sources import Source, SourceList, SourceReader, display_name, expand, open_file, read_file
from tasks.sources.source_lists import read_list


async def list_sources(sources: Sequence[str], reader: SourceReader, settings: Settings) -> SourceList:
    """Return the files that *sources* and their lists name, each once, those of the lists last.

    Raises `InvalidOptions` where there is none, and what finding and reading sources and lists raises.
    """
    given = [source for source in sources if not source.startswith(LIST_SCHEME)]
    lists = [source.removeprefix(LIST_SCHEME) for source in sources if source.startswith(LIST_SCHEME)]
    async with AsyncExitStack() as opened:
        contents = [await opened.enter_async_context(_content(named, reader, settings)) for named in lists]
        further = [
            read_list(pieces, f"the list {display_name(named)}") for named, pieces in zip(lists, contents, strict=True)
        ]
        found = await asyncio.to_thread(expand, given, reader, chain(*further))
    if not found:
        found.close()
        raise InvalidOptions("there is nothing to process; name at least one file, folder or URL")
    return found


@asynccontextmanager
async def _content(named: str, reader: SourceReader, settings: Settings) -> AsyncGenerator[Iterable[bytes]]:
    """Yield the content of the list at *named* in pieces, to be read in the block."""
    with await asyncio.to_thread(expand, [named], reader) as found:
        if len(found) != 1:
            raise InvalidOptions(f"{display_name(named)!r} names {len(found):,} files; a list of sources is one file")
        (source,) = found
    if source.error is not None:
        raise source.error
    if source.file_id is None:
        yield _read(source, reader)
        return
    with write_errors(settings.scratch):
        settings.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.scratch, prefix="list-") as folder:
        copy = Path(folder, "sources")
        async with open_block_custody(settings) as custody:
            artifact = await custody.get(source.file_id)
            if not artifact.media_type.startswith("text/"):
                raise InvalidOptions(f"{artifact.filename} is {artifact.media_type}, and no list of sources")
            await custody.fetch(artifact, copy)
        yield _pieces(copy, artifact.filename)


def _read(source: Source, reader: SourceReader) -> Iterator[bytes]:
    if source.remote is not None:
        yield from reader.read(source.remote)
    elif source.path is not None:
        yield from _pieces(source.path, source.text, reader, source.within)


def _pieces(path: Path, shown: str, reader: SourceReader | None = None, within: str | None = None) -> Iterator[bytes]:
    stream, opened = open_file(path, shown, reader.access if reader else None, within)
    with stream:
        yield from read_file(stream, opened, shown)
