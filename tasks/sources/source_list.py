"""The sources of a run, each once and in order, in little memory however many they are.

They are written to a file without a name, one record each, and read again part by part when their shard or slice
begins. In memory are a digest and a place of each, some hundred bytes. Up to some thousand never reach the disk.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import BinaryIO, Self, cast, overload

from blocks.runtime.write_errors import write_errors
from tasks.sources.source import Source

# Some thousand sources; more are on disk.
_IN_MEMORY_BYTES = 2**20
# Long enough that two sources have the same digest by no chance.
_DIGEST_BYTES = 16
# Sources that are read at once when a caller goes through all of them.
_PART = 500


class SourceList(Sequence[Source]):
    """Sources in the order given, without those that came before. Closed when its block ends. Safe in several threads.

    A process of its own reads the records: they are no format to keep, and hold what a source's URL holds.
    """

    def __init__(self, found: Iterable[Source], *, scratch: Path) -> None:
        """Take in *found*, whose errors it raises. What does not fit into memory goes to a file in *scratch*."""
        self._file: BinaryIO = io.BytesIO()
        self._ends = array("Q", [0])
        self._lock = Lock()
        try:
            self._take_in(found, scratch)
        except BaseException:
            self.close()
            raise

    def _take_in(self, found: Iterable[Source], scratch: Path) -> None:
        known: set[bytes] = set()
        for source in found:
            digest = hashlib.blake2b(repr(source.identity).encode(), digest_size=_DIGEST_BYTES).digest()
            if digest in known:
                continue
            known.add(digest)
            record = pickle.dumps(source)
            end = self._ends[-1] + len(record)
            with write_errors(f"the list of sources in {scratch}"):
                if end > _IN_MEMORY_BYTES and isinstance(self._file, io.BytesIO):
                    self._file = _on_disk(scratch, self._file.getbuffer())
                self._file.write(record)
            self._ends.append(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the records. The list cannot be read any more."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Source]:
        for part in self.parts(_PART):
            yield from part

    @overload
    def __getitem__(self, index: int) -> Source: ...

    @overload
    def __getitem__(self, index: slice) -> list[Source]: ...

    def __getitem__(self, index: int | slice) -> Source | list[Source]:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._read(start, stop)[::step] if step > 0 else [self[at] for at in range(start, stop, step)]
        at = range(len(self))[index]
        return self._read(at, at + 1)[0]

    def parts(self, size: int) -> Iterator[list[Source]]:
        """Yield lists of up to *size* sources, in order; only one of them is in memory."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def _read(self, start: int, stop: int) -> list[Source]:
        if start >= stop:
            return []
        first = self._ends[start]
        with self._lock:
            self._file.seek(first)
            records = memoryview(self._file.read(self._ends[stop] - first))
        ends = [end - first for end in self._ends[start : stop + 1]]
        # Written by this process, to a file that no other can open.
        return [pickle.loads(records[begin:end]) for begin, end in pairwise(ends)]  # noqa: S301


def _on_disk(scratch: Path, content: memoryview) -> BinaryIO:
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = cast("BinaryIO", tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115 - the list closes it
    file.write(content)
    return file
