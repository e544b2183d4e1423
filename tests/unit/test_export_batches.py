"""Batches on their way to a writer: small in bytes when they are decoded, whatever their source keeps them as."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from blocks.errors import ExportRefused
from tasks.export import open_file, write_export
from tasks.export.batches import bounded, decoded_bytes
from tasks.export.source import BATCH_BYTES, ArrowSource
from tasks.export.xlsx_format import MAX_ROWS

LONG = "x" * 1_000_000


def batch_of(array: Any) -> Any:
    return pa.RecordBatch.from_arrays([array], names=["a"])


def widths(batch: Any) -> list[int]:
    """Rows of the slices, each of which is small when it is decoded, or one row."""
    parts = list(bounded(batch))
    assert pa.Table.from_batches(parts).to_pylist() == batch.to_pylist()
    assert all(part.num_rows == 1 or decoded_bytes(part.column(0)) <= BATCH_BYTES for part in parts)
    return [part.num_rows for part in parts]


def test_a_dictionary_counts_as_what_it_stands_for() -> None:
    rows = widths(batch_of(pa.array(["a", LONG] * 10).dictionary_encode()))
    assert len(rows) > 2 and max(rows) <= 8


def test_narrow_rows_stay_together_and_wide_ones_do_not() -> None:
    rows = widths(batch_of(pa.array(["a"] * 1000 + [LONG] * 24)))
    assert max(rows) >= 500 and max(rows[-6:]) <= 4
    assert widths(batch_of(pa.array(range(100_000)))) == [100_000]


def test_other_small_forms_are_cut_as_well() -> None:
    repeated = pa.RunEndEncodedArray.from_arrays(pa.array([20], pa.int32()), pa.array([LONG]))
    assert max(part.num_rows for part in bounded(batch_of(repeated))) <= 4
    assert max(widths(batch_of(pa.array([LONG] * 20, pa.string_view())))) <= 4
    assert widths(batch_of(pa.array([LONG * 5]))) == [1]
    nested = pa.array([[1] * 200_000] * 20, pa.list_view(pa.int64()))
    assert sum(part.num_rows for part in bounded(batch_of(nested))) == 20


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())])
def test_one_long_value_in_every_row_of_a_parquet_file_is_read_in_small_batches(tmp_path: Path, kind: Any) -> None:
    value = LONG.encode() if kind == pa.binary() else LONG
    table = pa.table({"a": pa.array([value] * 40).cast(kind) if not pa.types.is_dictionary(kind) else
                      pa.array([value] * 40).dictionary_encode(), "n": pa.array(range(40))})  # fmt: skip
    parquet.write_table(table, tmp_path / "a.parquet")
    source = open_file(str(tmp_path / "a.parquet"))
    assert source.rows_expected == 40
    sizes = [batch.nbytes for batch in source.batches()]
    source.close()
    assert max(sizes) < BATCH_BYTES
    source = open_file(str(tmp_path / "a.parquet"))
    written = write_export(source, tmp_path / "b.parquet", format="parquet", on_rows=lambda _: None, check=lambda: None)
    source.close()
    assert written.rows == 40
    assert parquet.read_table(tmp_path / "b.parquet").column("a").to_pylist() == [value] * 40


def test_lists_of_equal_numbers_are_counted_by_their_numbers(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.array([[7] * 100_000] * 200)}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 200_000
    source = open_file(str(tmp_path / "a.parquet"))
    batches = [batch.num_rows for batch in source.batches()]
    source.close()
    assert sum(batches) == 200 and max(batches) <= 5


def test_a_sheet_is_refused_before_a_row_is_read_where_the_number_of_rows_is_known(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"a": pa.nulls(MAX_ROWS + 1, pa.int8())}), tmp_path / "a.parquet")
    source = open_file(str(tmp_path / "a.parquet"))

    def never() -> Iterator[Any]:
        raise AssertionError("a row was read")

    unread = ArrowSource(source.schema, never, source.close, source.rows_expected)
    told = r"at most 1,048,575 rows.*there are 1,048,576 rows; export as csv or parquet.*limit 1048575"
    with pytest.raises(ExportRefused, match=told):
        write_export(unread, tmp_path / "a.xlsx", format="xlsx", on_rows=lambda _: None, check=lambda: None)
    source.close()
    # As of a table, which was counted.
    unread = ArrowSource(pa.schema({"a": pa.int8()}), never)
    with pytest.raises(ExportRefused, match="there are 2,000,000 rows"):
        write_export(
            unread, tmp_path / "a.xlsx", format="xlsx", rows_expected=2_000_000, on_rows=lambda _: None,
            check=lambda: None,
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
