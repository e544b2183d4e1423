"""Write parquet: types stay as they are; what parquet has no type for becomes text."""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet as arrow_parquet

from tasks.export import cells

if TYPE_CHECKING:
    from tasks.export.write import RowStream

# Rows and bytes of a row group: readers skip and decode whole groups, and one is in memory until it is written.
_GROUP_ROWS, _GROUP_BYTES = 65_536, 32 * 2**20


def write_parquet(rows: RowStream, stream: BinaryIO, compression: str | None) -> None:
    """Write *rows* to *stream*, its pages compressed with *compression*, by default zstd. Raises `ExportRefused`."""
    schema = pa.schema([pa.field(column.name, _form(pa.nulls(0, column.type)).type) for column in rows.schema])
    if any(pa.types.is_duration(column.type) for column in rows.schema):
        rows.note("durations are text in ISO 8601: parquet has no type for them")
    with arrow_parquet.ParquetWriter(stream, schema, compression=compression or "zstd") as writer:
        group: list[Any] = []
        size = count = 0
        for batch in rows:
            arrays = [_form(column) for column in batch.columns]
            group.append(pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else batch)
            size, count = size + batch.nbytes, count + batch.num_rows
            if count >= _GROUP_ROWS or size >= _GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, None if not arrays else schema), row_group_size=count)
                group, size, count = [], 0, 0
        if count and len(schema):
            writer.write_table(pa.Table.from_batches(group, schema), row_group_size=count)


def _form(array: Any) -> Any:
    return cells.duration_text(array) if pa.types.is_duration(array.type) else array
