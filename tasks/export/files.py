"""Rows of a csv or parquet file, wherever fsspec reads. Values of a csv are text unless types are asked for."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
import pyarrow as pa
from pyarrow import csv as arrow_csv

from blocks.errors import ExportRefused
from blocks.redaction import without_query
from tasks.export.parquet_input import open_parquet, read_parquet
from tasks.export.source import ArrowSource, RecordSource

# The longest row of a csv: a block is in memory, and a row must not be longer than one.
_BLOCK_BYTES = 4 * 2**20
_PARQUET_SUFFIXES = (".parquet", ".pq")
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_COUNTS = re.compile(r"Row #\d+: Expected \d+ columns, got \d+")


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """How to read a csv: its *delimiter*, whether to guess *types* (which loses leading zeros), options of fsspec.

    *shown* is what errors call the file, if it is the copy of another one.
    """

    delimiter: str = ","
    types: bool = False
    storage_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shown: str | None = None


def open_file(url: str, options: FileOptions | None = None) -> RecordSource:
    """Return the rows of *url*: ``.csv``, also ``.csv.gz`` and ``.csv.zst``, or ``.parquet``; a path or an fsspec URL.

    In a csv an empty value is null and ``""`` an empty text. Raises `ExportRefused` for a file of another form, and
    the errors of fsspec's driver.
    """
    options = options or FileOptions()
    name = url.partition("?")[0].lower() if "://" in url else url.lower()
    compression = next((kind for suffix, kind in _COMPRESSED.items() if name.endswith(suffix)), None)
    name = name.rpartition(".")[0] if compression else name
    if name.endswith(_PARQUET_SUFFIXES) and compression is None:
        return _parquet(url, options)
    if name.endswith(".csv"):
        return _csv(url, options, compression)
    raise ExportRefused(
        f"{_shown(url, options)} is neither csv nor parquet by its name, which must end with .csv, .csv.gz, .csv.zst "
        "or .parquet"
    )


def _parquet(url: str, options: FileOptions) -> RecordSource:
    stack, shown = ExitStack(), _shown(url, options)
    try:
        file = open_parquet(stack.enter_context(_opened(url, options)))
    except BaseException as exc:
        stack.close()
        if _is_damage(exc):
            raise ExportRefused(f"{shown} is no parquet file that can be read ({type(exc).__name__})") from exc
        raise
    return ArrowSource(
        file.schema_arrow,
        lambda: _translated(read_parquet(file), shown, _parquet_error),
        stack.close,
        file.metadata.num_rows,
    )


def _csv(url: str, options: FileOptions, compression: str | None) -> RecordSource:
    stack, shown = ExitStack(), _shown(url, options)

    def reader(types: dict[str, Any] | None, *, alone: bool) -> Any:
        stream = stack.enter_context(_opened(url, options))
        source = pa.CompressedInputStream(stream, compression) if compression else stream
        return arrow_csv.open_csv(
            source,
            # One thread: its blocks are in memory one at a time.
            read_options=arrow_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=options.delimiter, newlines_in_values=True, ignore_empty_lines=not alone
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=[""],
            ),
        )

    try:
        # The names come first: only then can each column be asked for as text.
        first = reader(None, alone=False).schema
        alone = len(first) == 1
        stack.close()
        opened = reader(None if options.types else dict.fromkeys(first.names, pa.string()), alone=alone)
    except BaseException as exc:
        stack.close()
        if _is_damage(exc):
            raise _csv_error(shown, exc) from exc
        raise
    return ArrowSource(opened.schema, lambda: _translated(iter(opened), shown, _csv_error), stack.close)


def _opened(url: str, options: FileOptions) -> Any:
    return cast("Any", fsspec).open(url, "rb", **options.storage_options)


def _translated(batches: Any, shown: str, error: Callable[[str, BaseException], ExportRefused]) -> Iterator[Any]:
    try:
        yield from batches
    except (pa.ArrowException, OSError) as exc:
        if _is_damage(exc):
            raise error(shown, exc) from exc
        raise


def _is_damage(exc: BaseException) -> bool:
    """Return whether *exc* is about the content. Arrow raises a bare `OSError` for a damaged compressed file."""
    if isinstance(exc, OSError):
        return exc.errno is None and (type(exc) is OSError or isinstance(exc, pa.ArrowException))
    return isinstance(exc, pa.ArrowException)


def _parquet_error(shown: str, exc: BaseException) -> ExportRefused:
    return ExportRefused(f"{shown} is a damaged parquet file ({type(exc).__name__})")


def _csv_error(shown: str, exc: BaseException) -> ExportRefused:
    """Return the error with the part of Arrow's message that is about the form alone: the rest quotes the row."""
    text = str(exc)
    counts = _COUNTS.search(text)
    said = counts[0] if counts is not None else text.partition(":")[0].partition("'")[0]
    return ExportRefused(
        f"{shown} is no csv in UTF-8 with commas, a line of names and as many values in each line: {said[:120]}"
    )


def _shown(url: str, options: FileOptions) -> str:
    return options.shown or (without_query(url) if "://" in url else url)
