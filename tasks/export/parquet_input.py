"""Read parquet files a few megabytes at a time, also those whose rows become wide where nothing announces it.

Parquet says how many bytes a group of rows has, and not where: one text may stand for all rows (a dictionary), and the
wide rows may come together. A page, which writers fill with a megabyte or so, is in memory as a whole.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tasks.export.batches import decoded_bytes
from tasks.export.cells import is_bytes, is_text
from tasks.export.source import BATCH_BYTES

_ROWS = 16_384
# What is read of a group before anything is known of its rows, and while wide rows are still to come.
_CAREFUL_ROWS = 32
# A group of this size cannot fill the memory. In a larger one, rows that are this much behind the mean of their group
# say that wide ones follow.
_HARMLESS_BYTES = 32 * 2**20
# A dictionary is copied for each batch, and the batches of a large group are small.
_SMALL_DICTIONARY_BYTES = 4 * 2**20
# Without buffers, Arrow reads a column of a group as a whole. All buffers together.
_BUFFERS_BYTES, _BUFFER_BYTES, _SMALLEST_BUFFER_BYTES = 32 * 2**20, 2**20, 4096
# Of a decoded value, by parquet's own types; a text also has its own bytes.
_VALUE_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8, "BYTE_ARRAY": 4}
_LONGEST_VALUE_BYTES = 16


def open_parquet(stream: Any) -> Any:
    """Return the `pyarrow.parquet.ParquetFile` of *stream*. Raises Arrow's errors."""
    file = parquet.ParquetFile(stream, pre_buffer=False)
    buffer_bytes = min(_BUFFER_BYTES, max(_SMALLEST_BUFFER_BYTES, _BUFFERS_BYTES // max(1, file.metadata.num_columns)))
    is_large = _largest_group(file.metadata) > _HARMLESS_BYTES
    # Arrow would decode a whole batch, and one long text can stand in every row of it.
    encoded = _dictionaries(file, _SMALL_DICTIONARY_BYTES if is_large else _HARMLESS_BYTES)
    return parquet.ParquetFile(
        stream,
        metadata=file.metadata,
        pre_buffer=False,
        buffer_size=buffer_bytes if is_large else 0,
        read_dictionary=encoded,
    )


def read_parquet(file: Any) -> Iterator[Any]:
    """Yield the batches of a file that `open_parquet` has opened. Raises Arrow's errors."""
    metadata = file.metadata
    names = file.schema_arrow.names
    sizes = [_decoded_bytes(metadata.row_group(number), names) for number in range(metadata.num_row_groups)]
    totals = [sum(size.values()) for size in sizes]

    def pace(number: int) -> tuple[int, bool]:
        rows = _rows_of_mean(metadata.row_group(number).num_rows, totals[number])
        return rows, totals[number] <= _HARMLESS_BYTES

    for (rows, is_harmless), found in groupby(range(metadata.num_row_groups), pace):
        groups = list(found)
        if is_harmless:
            yield from file.iter_batches(rows, groups)
            continue
        for number in groups:
            yield from _carefully(file, number, sizes[number], rows)


def _carefully(file: Any, number: int, sizes: Mapping[str, int], most: int) -> Iterator[Any]:
    """Yield a large group, *most* rows at a time, but few until they are seen to be as wide as all of its rows.

    *sizes* are the bytes of its columns.
    """
    count = max(1, file.metadata.row_group(number).num_rows)
    seen, rows, seen_rows = dict.fromkeys(sizes, 0), min(most, _CAREFUL_ROWS), 0
    for batch in file.iter_batches(rows, [number]):
        yield batch
        widths = {name: _read_bytes(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        seen_rows += batch.num_rows
        seen = {name: seen.get(name, 0) + width for name, width in widths.items()}
        # Each column by itself: one that decodes to more than it takes in the file hides no other.
        behind = sum(max(0, size * seen_rows // count - seen.get(name, 0)) for name, size in sizes.items())
        rows = min(most, _CAREFUL_ROWS if behind > _HARMLESS_BYTES else 2 * rows)
        # Arrow asks for it before each batch.
        file.reader.set_batch_size(min(rows, _rows_of_mean(batch.num_rows, sum(widths.values()))))


def _read_bytes(column: Any) -> int:
    """Return about what *column* takes in its file: of a dictionary that is used often, the dictionary."""
    return min(decoded_bytes(column), column.nbytes) if pa.types.is_dictionary(column.type) else column.nbytes


def _rows_of_mean(rows: int, size: int) -> int:
    return max(1, min(_ROWS, BATCH_BYTES * rows // max(1, size)))


def _dictionaries(file: Any, most_bytes: int) -> list[str]:
    """Return the columns of text or bytes that hold each value once, in a dictionary of at most *most_bytes*."""
    schema, metadata = file.schema_arrow, file.metadata
    flat = {field.name for field in schema if is_text(field.type) or is_bytes(field.type)}
    found: list[str] = []
    for number in range(metadata.num_columns):
        path = metadata.schema.column(number).path
        if path not in flat:
            continue
        chunks = [metadata.row_group(group).column(number) for group in range(metadata.num_row_groups)]
        is_encoded = any("DICTIONARY" in kind for chunk in chunks for kind in chunk.encodings)
        if is_encoded and all(chunk.total_uncompressed_size <= most_bytes for chunk in chunks):
            found.append(path)
    return found


def _largest_group(metadata: Any) -> int:
    return max((metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)), default=0)


def _decoded_bytes(group: Any, names: Sequence[str]) -> dict[str, int]:
    """Return about how many bytes the columns *names* of a group have when they are decoded, dictionaries excepted."""
    known, found = set(names), dict.fromkeys(names, 0)
    for number in range(group.num_columns):
        column = group.column(number)
        path = column.path_in_schema
        name = path if path in known else path.partition(".")[0]
        width = _VALUE_BYTES.get(column.physical_type, _LONGEST_VALUE_BYTES)
        # Encoded values may be far smaller than decoded ones.
        found[name] = found.get(name, 0) + max(column.total_uncompressed_size, column.num_values * width)
    return found
