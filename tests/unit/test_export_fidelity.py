"""Exports are read back by other libraries and compared cell by cell: all that a format holds, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from blocks.errors import ExportRefused
from tasks.export import FORMATS, RecordSource, open_rows, write_export
from tasks.export.source import ArrowSource
from tasks.export.write import Written

AWKWARD = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "007", "1e5", "yes", "no", "0x10", "NA", "null", "NaN", "", None,
    " lead", "a,b;c",
    'say "so"', "two\nlines", "a\r\nb", "nul\x00here", "\x01\x0b\x1f", "_x0041_", "Zürich", "😀😀",
    "\u2028", "\ufeffbom",
    "http://example.org/" + "x" * 3000, "<a href='x'>&amp;</a>", "\ufffe\uffff", "'quoted", "01/02/2026",
]  # fmt: skip
texts = st.one_of(st.none(), st.sampled_from(AWKWARD), st.text(max_size=20))


def written(source: RecordSource, target: Path, **more: Any) -> Written:
    return write_export(source, target, format=target.suffix[1:], on_rows=lambda _: None, check=lambda: None, **more)


def source_of(**columns: Any) -> RecordSource:
    batch = pa.record_batch(list(columns.values()), names=list(columns))
    return ArrowSource(batch.schema, lambda: iter([batch]))


def sheet(path: Path) -> list[tuple[Any, ...]]:
    rows = openpyxl.load_workbook(path).worksheets[0].iter_rows(values_only=True)
    return [tuple(unescape(cell) if isinstance(cell, str) else cell for cell in row) for row in rows]


def by_duckdb(query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.execute(query).fetchall()


@settings(max_examples=10)
@given(rows=st.lists(st.tuples(texts, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), min_size=1, max_size=40))
def test_any_text_and_integer_are_read_back_by_others(rows: list[tuple[str | None, int | None]]) -> None:
    words, numbers = zip(*rows, strict=True)

    def source() -> RecordSource:
        return source_of(words=pa.array(words, pa.string()), numbers=pa.array(numbers, pa.int64()))

    with TemporaryDirectory() as made:
        folder = Path(made)
        for form in FORMATS:
            assert written(source(), folder / f"a.{form}").rows == len(rows)
        assert by_duckdb(f"from read_parquet('{folder}/a.parquet')") == rows
        as_json = json.loads((folder / "a.json").read_bytes())
        as_lines = [json.loads(line) for line in (folder / "a.jsonl").read_bytes().split(b"\n") if line]
        large = any(number is not None and abs(number) > 2**53 for number in numbers)
        in_json = [None if number is None else str(number) if large else number for number in numbers]
        assert as_json == as_lines == [{"words": w, "numbers": n} for w, n in zip(words, in_json, strict=True)]
        if not any("\x00" in (word or "") for word in words):  # DuckDB's reader of csv ends a text at NUL
            kinds = "{'words': 'varchar', 'numbers': 'bigint'}"
            options = "header=true, quote='\"', escape='\"', delim=',', allow_quoted_nulls=false, parallel=false"
            assert by_duckdb(f"from read_csv('{folder}/a.csv', columns={kinds}, {options})") == rows
        in_cells = [
            (word or None, str(number) if number is not None and abs(number) >= 10**15 else number)
            for word, number in rows
        ]
        found = sheet(folder / "a.xlsx")
        assert found[0] == ("words", "numbers")
        blank = (None, None)
        shown = [*found[1:], *[blank] * (len(rows) - len(found) + 1)]  # empty rows at the end are not in the file
        assert shown == in_cells


def test_numbers_times_and_nested_values_are_read_back_by_others(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 600_000, UTC)
    columns = {
        "huge": pa.array([2**64 - 1, 0], pa.uint64()),
        "exact": pa.array([Decimal("12345678901234567890.12"), Decimal("-0.10")], pa.decimal128(38, 2)),
        "small": pa.array([Decimal("0.00000001"), None], pa.decimal128(20, 8)),
        "real": pa.array([0.1, math.nan], pa.float32()),
        "endless": pa.array([math.inf, 1e300]),
        "zone": pa.array([moment, None], pa.timestamp("us", "Asia/Kolkata")),
        "old": pa.array([datetime(1899, 12, 31, 1), datetime(2000, 2, 29)], pa.timestamp("s")),  # noqa: DTZ001
        "day": pa.array([date(1, 1, 1), date(9999, 12, 31)]),
        "clock": pa.array([time(23, 59, 59, 999_999), None]),
        "lasts": pa.array([timedelta(days=-1, microseconds=1), timedelta(0)]),
        "raw": pa.array([b"\xff\x00", b""]),
        "list": pa.array([[1, None, 2**60], []]),
        "tree": pa.array([{"a": "é", "b": [True]}, None]),
        "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "code": pa.array(["x", "y"]).dictionary_encode(),
    }
    for form in FORMATS:
        written(source_of(**columns), tmp_path / f"a.{form}")
    first = json.loads((tmp_path / "a.json").read_bytes())[0]
    assert first == {
        "huge": "18446744073709551615", "exact": "12345678901234567890.12", "small": "0.00000001", "real": 0.1,
        "endless": None, "zone": "2026-01-02T03:04:05.600000Z", "old": "1899-12-31T01:00:00", "day": "0001-01-01",
        "clock": "23:59:59.999999", "lasts": "PT-86399.999999S", "raw": "/wA=", "list": [1, None, str(2**60)],
        "tree": {"a": "é", "b": [True]}, "map": [["k", 1]], "code": "x",
    }  # fmt: skip
    header, row, _ = sheet(tmp_path / "a.xlsx")
    cells = dict(zip(header, row, strict=True))
    assert cells == {
        "huge": "18446744073709551615", "exact": "12345678901234567890.12", "small": 1e-8, "real": 0.1,
        "endless": "inf", "zone (UTC)": moment.replace(tzinfo=None), "old": "1899-12-31 01:00:00.000",
            "day": "0001-01-01",
        "clock": "23:59:59.999999", "lasts": "PT-86399.999999S", "raw": "/wA=",
        "list": '[1,null,"1152921504606846976"]',
        "tree": '{"a":"é","b":[true]}', "map": '[["k",1]]', "code": "x",
    }  # fmt: skip
    wanted = (
        2**64 - 1,
        Decimal("12345678901234567890.12"),
        Decimal("0.00000001"),
        moment,
        date(1, 1, 1),
        [1, None, 2**60],
    )
    names = "huge, exact, small, zone, day"
    assert by_duckdb(f"from read_parquet('{tmp_path}/a.parquet') select {names}, list")[0] == wanted
    kinds = (
        "{'huge': 'ubigint', 'exact': 'decimal(38,2)', 'small': 'decimal(20,8)', 'zone': 'timestamptz', 'day': 'date'}"
    )
    assert by_duckdb(f"from read_csv('{tmp_path}/a.csv', types={kinds}) select {names}")[0] == wanted[:5]


def test_a_decimal_of_hundreds_is_written_in_every_format(tmp_path: Path) -> None:
    hundreds = pa.array([Decimal(1200), None], pa.decimal128(10, -2))
    for form in FORMATS:
        written(source_of(price=hundreds), tmp_path / f"a.{form}")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [{"price": Decimal(1200)}, {"price": None}]


def test_a_late_large_integer_makes_the_whole_column_text(tmp_path: Path) -> None:
    schema = pa.schema({"a": pa.int64(), "b": pa.int64()})
    rows = ({"a": number, "b": number} if number < 12_000 else {"a": 2**53 + 1, "b": None} for number in range(12_001))
    made = written(open_rows(schema, rows), tmp_path / "a.jsonl")
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_bytes().splitlines()]
    assert ({type(row["a"]) for row in found}, found[0], found[-1]) == (
        {str}, {"a": "0", "b": 0}, {"a": str(2**53 + 1), "b": None},
    )  # fmt: skip
    assert (made.rows, len(made.notes)) == (12_001, 1)


def test_a_sheet_refuses_what_it_cannot_hold_and_leaves_nothing(tmp_path: Path) -> None:
    def many() -> Iterator[Any]:
        for _ in range(2):
            yield pa.record_batch([pa.nulls(8)], names=["a"])

    text = pa.array(["short", "😀" * 16_384])
    wide = {f"c{number}": pa.array([1]) for number in range(16_385)}
    for source, message in (
        (source_of(b=text), r"column 'b', row 2: .*32,768"),
        (source_of(b=pa.array([["x" * 32_767]])), r"column 'b', row 1"),
        (source_of(**wide), "16,384 columns"),
    ):
        with pytest.raises(ExportRefused, match=message):
            written(source, tmp_path / "a.xlsx")
    # The rows before are only counted: a million of them take seconds.
    from tasks.export.write import RowStream
    from tasks.export.xlsx_format import MAX_ROWS, _records  # pyright: ignore[reportPrivateUsage]

    rows = RowStream(ArrowSource(pa.schema({"a": pa.null()}), many), lambda _: None, lambda: None)
    rows.rows = MAX_ROWS - 8
    records = _records(rows, ["a"])
    with pytest.raises(ExportRefused, match=r"1,048,576"):
        for _ in records:
            pass
    assert list(tmp_path.iterdir()) == []
    wide.popitem()
    assert written(source_of(**wide), tmp_path / "a.xlsx").columns == 16_384
    assert len(sheet(tmp_path / "a.xlsx")[1]) == 16_384


def test_safe_formulas_are_text_in_a_spreadsheet_and_only_on_request(tmp_path: Path) -> None:
    formulas = ["=1+1", "+1", "-1", "@A1", "\t=1", "\r1", " =1", "＝1"]
    source = source_of(**{"=h": pa.array([*formulas, "a=1", None, ""]), "n": pa.array([-1] * 11)})
    written(source, tmp_path / "a.csv", safe_formulas=True)
    import csv

    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["'=h", "n"]
    assert [row[0] for row in rows] == [*("'" + text for text in formulas), "a=1", "", ""]
    assert {row[1] for row in rows} == {"-1"}


def test_a_single_column_keeps_its_null_rows(tmp_path: Path) -> None:
    made = written(source_of(a=pa.array([1, None, 3])), tmp_path / "a.csv")
    assert len(by_duckdb(f"from read_csv('{tmp_path}/a.csv', header=true, all_varchar=true)")) == 3
    assert len(made.notes) == 1
