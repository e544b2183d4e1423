"""Rows as csv and JSON: no digit, no zone and no empty text is lost; what cannot be kept is refused."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from blocks.errors import ExportRefused, InvalidOptions
from tasks.export import COMPRESSIONS, FORMATS, Rows, extension, media_type, open_file, open_query, write_export
from tasks.export.files import FileOptions

COLUMNS = ("text", "empty", "none", "formula", "big", "decimal", "real", "at", "day", "bytes", "nested", "id", "lasts")
ROW: tuple[Any, ...] = (
    'a "quoted", text\r\nof two lines \u2028 \U0001f600',
    "",
    None,
    "=1+1",
    2**60 + 1,
    Decimal("12345678901234567890.10"),
    float("nan"),
    datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    date(1899, 12, 31),
    b"\x00\xff",
    {"a": [1, 2]},
    UUID(int=1),
    timedelta(days=1, microseconds=1),
)


def write(target: Path, form: str, rows: list[tuple[Any, ...]], **more: Any) -> tuple[int, list[int]]:
    seen: list[int] = []
    source = Rows(COLUMNS, [rows, [], rows] if rows else [])  # few rows are one batch
    written = write_export(source, target, format=form, on_rows=seen.append, check=lambda: None, **more)
    assert (written.size, written.columns) == (target.stat().st_size, len(COLUMNS))
    return written.rows, seen


def test_csv_reads_back_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    assert write(target, "csv", [ROW]) == (2, [2])
    with target.open(encoding="utf-8", newline="") as stream:
        header, first, second = csv.reader(stream)
    assert (tuple(header), first) == (COLUMNS, second)
    assert first == [
        ROW[0], "", "", "=1+1", "1152921504606846977", "12345678901234567890.10", "nan",
        "2026-01-01 21:34:05.000600Z", "1899-12-31", "AP8=", '{"a":[1,2]}', str(UUID(int=1)),
        "PT86400.000001S",
    ]  # fmt: skip
    assert ',"",,"=1+1"' in target.read_text(), "an empty text is not a missing value"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_reads_back_without_rounding(tmp_path: Path, form: str) -> None:
    target = tmp_path / "a"
    assert write(target, form, [ROW])[0] == 2
    text = target.read_text(encoding="utf-8")
    read = json.loads(text) if form == "json" else [json.loads(line) for line in text.split("\n") if line]
    assert read[0] == read[1]
    assert read[0]["big"] == "1152921504606846977"
    assert read[0]["decimal"] == "12345678901234567890.10"
    assert (read[0]["empty"], read[0]["none"], read[0]["real"]) == ("", None, None)
    assert read[0]["nested"] == {"a": [1, 2]}


@pytest.mark.parametrize(("form", "empty"), [("csv", 1), ("json", 2), ("jsonl", 0)])
def test_no_rows_are_a_valid_file_and_gzip_is_the_same_bytes(tmp_path: Path, form: str, empty: int) -> None:
    plain, packed = tmp_path / "a", tmp_path / "a.gz"
    assert write(plain, form, []) == (0, [])
    assert len(plain.read_text().splitlines()) == empty
    write(packed, form, [ROW], compression="gzip")
    write(plain, form, [ROW])
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert (extension(form, "gzip"), media_type(form, "gzip")) == (f"{form}.gz", "application/gzip")


@pytest.mark.parametrize("form", FORMATS)
def test_repeated_and_empty_names_are_made_distinct(tmp_path: Path, form: str) -> None:
    twice = Rows(("a", "", "a", "a_2"), [[(1, 2, 3, 4)]])
    written = write_export(twice, tmp_path / "a", format=form, on_rows=lambda _: None, check=lambda: None)
    assert [name for name, _ in written.schema] == ["a", "column_2", "a_3", "a_2"]
    assert len(written.notes) == 2


@pytest.mark.parametrize("form", FORMATS)
def test_a_stopped_writer_leaves_what_was_there(tmp_path: Path, form: str) -> None:
    target = tmp_path / "a"
    target.write_text("before")

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_export(Rows(COLUMNS, [[ROW]]), target, format=form, on_rows=lambda _: None, check=stop)
    assert (target.read_text(), [path.name for path in tmp_path.iterdir()]) == ("before", ["a"])


def test_a_stopped_compression_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def stop(_: int) -> None:
        raise InterruptedError

    for compression in COMPRESSIONS:
        with pytest.raises(InterruptedError):
            rows = Rows(["a"], [[("x",)], [("y",)]])
            target = tmp_path / "a"
            write_export(rows, target, format="csv", compression=compression, on_rows=stop, check=lambda: None)
        assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_what_does_not_go_together_is_refused() -> None:
    for form, compression in (("xlsx", "gzip"), ("pdf", None), ("csv", "rar")):
        with pytest.raises(InvalidOptions):
            extension(form, compression)
    assert (extension("parquet", "zstd"), extension("csv", "zstd")) == ("parquet", "csv.zst")


def test_a_query_of_another_database_changes_nothing(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    with sqlite3.connect(path) as made:
        made.execute("create table t (a, b)")
        made.execute("insert into t values (1, 'x'), (null, '')")
    made.close()
    source = open_query(f"sqlite:///{path}", "select a, b from t")
    assert (source.schema.names, [row for batch in source.batches() for row in batch.to_pylist()]) == (
        ["a", "b"], [{"a": 1, "b": "x"}, {"a": None, "b": ""}],
    )  # fmt: skip
    source.close()
    for statement in ("delete from t", "drop table t", "select no_such from t"):
        with pytest.raises(ExportRefused):
            open_query(f"sqlite:///{path}", statement)
    with pytest.raises(InvalidOptions) as caught:
        open_query("nosuch://me:hunter2@host/x", "select 1")
    assert "hunter2" not in str(caught.value)


def test_an_endless_query_of_sqlite_ends_at_its_limit_and_when_its_caller_stops(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    sqlite3.connect(path).close()
    endless = "with recursive x(a) as (select 1 union all select a + 1 from x) select a from x where a < 0"
    with pytest.raises(ExportRefused, match="time limit"):
        open_query(f"sqlite:///{path}", endless, time_limit=timedelta(milliseconds=50))

    def stop() -> None:
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        open_query(f"sqlite:///{path}", endless, check=stop)


def test_wide_rows_come_in_small_batches(tmp_path: Path) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "a.db") as made:
        made.execute("create table t (a)")
        made.executemany("insert into t values (?)", [("x" * 200_000,) for _ in range(200)])
    made.close()
    source = open_query(f"sqlite:///{tmp_path}/a.db", "select a from t")
    first, *others = [batch.num_rows for batch in source.batches()]  # the first ones decide the type, as one
    source.close()
    assert (first + sum(others), max(others)) == (200, 20)
    target = tmp_path / "a.parquet"
    rows = Rows(["a"], [[(str(row) + "x" * 1_000_000,)] for row in range(20)])
    write_export(rows, target, format="parquet", compression="gzip", on_rows=lambda _: None, check=lambda: None)
    source = open_file(str(target))
    assert [batch.num_rows for batch in source.batches()] == [4] * 5
    source.close()


def test_a_column_of_text_and_bytes_is_text(tmp_path: Path) -> None:
    rows = Rows(["a"], [[("x",), (b"\xff",)]])
    assert [row for batch in rows.batches() for row in batch.to_pylist()] == [{"a": "x"}, {"a": "ff"}]


def test_a_csv_file_keeps_leading_zeros_and_null_apart_from_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,"a ""b"",",c\n007,yes,\n0x10,"two\nlines",""\n', encoding="utf-8")
    for url in (str(path), f"file://{path}"):
        source = open_file(url)
        rows = [tuple(row.values()) for batch in source.batches() for row in batch.to_pylist()]
        source.close()
        assert source.schema.names == ["id", 'a "b",', "c"]
        assert rows == [("007", "yes", None), ("0x10", "two\nlines", "")]


def test_a_csv_file_with_a_short_line_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\nsecret\n")
    told = r"^its name is no csv in UTF-8 with commas, .*Row #3: Expected 2 columns, got 1$"
    with pytest.raises(ExportRefused, match=told) as caught:
        list(open_file(str(path), FileOptions(shown="its name")).batches())
    assert "secret" not in str(caught.value)
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 1000)
    for part in (packed[:20], packed[:30] + b"x" * 30, b"no gzip"):
        (tmp_path / "cut.csv.gz").write_bytes(part)
        with pytest.raises(ExportRefused):
            list(open_file(str(tmp_path / "cut.csv.gz")).batches())
    for name in ("a.parquet", "a.txt", "empty.csv"):
        (tmp_path / name).write_text("")
        with pytest.raises(ExportRefused):
            open_file(str(tmp_path / name))
