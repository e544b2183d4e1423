"""Write the rows of a source to one file, in constant memory. The file appears whole or not at all.

Owns what all formats share: names of columns, compression, progress, and that nothing is visible before it is whole.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from blocks.errors import ExportRefused
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.threads import StopCheck
from tasks.export.batches import bounded
from tasks.export.cells import plain
from tasks.export.formats import check_format
from tasks.export.source import RecordSource, batch_of

# gzip's own default, 9 in Arrow, takes three times as long as 6 for a hundredth of the size.
_LEVELS = {"gzip": 6, "zstd": 3}


@dataclass(frozen=True, kw_only=True)
class Written:
    """A written file: *rows*, *size* in bytes, *columns*, their names and types, and notes on what was changed."""

    rows: int
    size: int
    columns: int
    schema: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class RowStream:
    """The batches on their way to a writer: counted, checked for a stop, and free of types that only Arrow knows."""

    def __init__(
        self,
        source: RecordSource,
        on_rows: Callable[[int], None],
        check: StopCheck,
        *,
        rows_expected: int | None = None,
    ) -> None:
        names, self.notes = _column_names(source.schema.names)
        self.rows_expected = source.rows_expected if rows_expected is None else rows_expected
        self._source, self._on_rows, self._check = source, on_rows, check
        empty = [plain(pa.nulls(0, column.type)).type for column in source.schema]
        self.schema = pa.schema(
            [
                pa.field(name, kind, metadata=column.metadata)
                for name, kind, column in zip(names, empty, source.schema, strict=True)
            ]
        )
        self.rows = 0

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches. `rows` counts those before the present one while the caller writes it."""
        for batch in self._source.batches():
            for part in bounded(batch):
                self._check()
                yield batch_of([plain(column) for column in part.columns], self.schema, part.num_rows)
                self.rows += part.num_rows
                self._on_rows(self.rows)
        self._check()

    def check(self) -> None:
        """Raise what ends the work, if its caller has gone."""
        self._check()

    def note(self, text: str) -> None:
        """Keep *text* for the reader of the file, once."""
        if text not in self.notes:
            self.notes.append(text)


def write_export(
    source: RecordSource,
    target: Path,
    *,
    format: str,  # noqa: A002 - the name that users know it by
    compression: str | None = None,
    safe_formulas: bool = False,
    rows_expected: int | None = None,
    on_rows: Callable[[int], None],
    check: StopCheck,
) -> Written:
    """Write all rows of *source* to *target* (mode 0600); an error leaves what was there before.

    *on_rows* is called with the rows so far, *check* between batches. *safe_formulas* puts ``'`` before text of a csv
    that a spreadsheet would run as a formula. *rows_expected* is the number of rows, where the caller knows it and
    *source* does not: what a format cannot hold is refused before anything is written. Raises `ExportRefused` with
    column and row for what the format cannot hold, `InvalidOptions`, `OSError`, and what *source*, *on_rows* and
    *check* raise.
    """
    check_format(format, compression)
    rows = RowStream(source, on_rows, check, rows_expected=rows_expected)
    try:
        if format == "xlsx":
            from tasks.export.xlsx_format import write_xlsx

            with atomic_file(target) as stream:
                write_xlsx(rows, stream, target.parent)
        elif format == "parquet":
            from tasks.export.parquet_format import write_parquet

            with atomic_file(target) as stream:
                write_parquet(rows, stream, compression)
        else:
            with atomic_file(target) as stream, _compressed(stream, compression) as sink:
                if format == "csv":
                    from tasks.export.csv_format import write_csv

                    write_csv(rows, sink, safe_formulas=safe_formulas)
                else:
                    from tasks.export.json_format import write_json

                    write_json(rows, sink, target.parent, array=format == "json")
    except (pa.ArrowException, OverflowError) as exc:
        if isinstance(exc, OSError) and exc.errno is not None:
            raise
        # Only the type: Arrow's messages quote values.
        raise ExportRefused(
            f"a value after row {rows.rows} cannot be written as {format} ({type(exc).__name__}); convert its column "
            "to text in the query"
        ) from exc
    return Written(
        rows=rows.rows,
        size=target.stat().st_size,
        columns=len(rows.schema),
        schema=tuple((column.name, str(column.type)) for column in rows.schema),
        notes=tuple(rows.notes),
    )


@contextmanager
def _compressed(stream: BinaryIO, compression: str | None) -> Generator[Any]:
    """Return where to write the content; the end of a compressed stream is written only when the block succeeds."""
    if compression is None:
        yield stream
        return
    import io

    if compression == "gzip":
        import gzip

        # Without a name and a time, so that equal rows are equal files.
        with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=_LEVELS["gzip"], mtime=0) as packed:
            buffered = io.BufferedWriter(packed, 2**20)  # pyright: ignore[reportArgumentType] - it is a raw stream
            yield buffered
            buffered.flush()
            buffered.detach()
        return
    packed = pa.CompressedOutputStream(pa.PythonFile(stream, mode="w"), "zstd")
    try:
        yield packed
        packed.flush()
    except BaseException:
        # Else Arrow writes the end when it forgets the stream, whose file is closed by then, and prints an error.
        with suppress(Exception):
            packed.close()
        raise
    # Closes *stream* as well, which its owner flushes and closes again: keep that from it.
    packed.close()


def _column_names(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return *names* without empty and repeated ones, which most readers lose, and notes on what was renamed."""
    found: list[str] = []
    notes: list[str] = []
    taken = set(names)
    seen: set[str] = set()
    for number, name in enumerate(names, 1):
        given = name or f"column_{number}"
        wanted, count = given, 1
        while wanted in seen or (wanted != name and wanted in taken):
            count += 1
            wanted = f"{given}_{count}"
        if wanted != name:
            notes.append(f"column {number}, {name!r}, is named {wanted!r}: each column needs a name of its own")
        seen.add(wanted)
        found.append(wanted)
    return found, notes
