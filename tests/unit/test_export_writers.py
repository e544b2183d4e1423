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
from tasks.export import Rows, extension, media_type, open_file, open_query, write_export

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
    {"a": [1, Decimal("0.1"), None]},
    UUID(int=1),
    timedelta(days=1, microseconds=1),
)


def write(target: Path, form: str, rows: list[tuple[Any, ...]], **more: Any) -> tuple[int, list[int]]:
    seen: list[int] = []
    source = Rows(COLUMNS, [rows, [], rows] if rows else [])
    written = write_export(source, target, format=form, on_rows=seen.append, check=lambda: None, **more)
    assert (written.size, written.columns) == (target.stat().st_size, len(COLUMNS))
    return written.rows, seen


def test_csv_reads_back_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    assert write(target, "csv", [ROW]) == (2, [1, 1, 2])
    with target.open(encoding="utf-8", newline="") as stream:
        header, first, second = csv.reader(stream)
    assert (tuple(header), first) == (COLUMNS, second)
    assert first == [
        ROW[0], "", "", "=1+1", "1152921504606846977", "12345678901234567890.10", "nan",
        "2026-01-02 03:04:05.000600+05:30", "1899-12-31", "AP8=", '{"a": [1, "0.1", null]}', str(UUID(int=1)),
        "86400.000001s",
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
    assert (read[0]["empty"], read[0]["none"], read[0]["real"]) == ("", None, "nan")
    assert read[0]["nested"] == {"a": [1, "0.1", None]}


@pytest.mark.parametrize(("form", "empty"), [("csv", 1), ("json", 2), ("jsonl", 0)])
def test_no_rows_are_a_valid_file_and_gzip_is_the_same_bytes(tmp_path: Path, form: str, empty: int) -> None:
    plain, packed = tmp_path / "a", tmp_path / "a.gz"
    assert write(plain, form, []) == (0, [])
    assert len(plain.read_text().splitlines()) == empty
    write(packed, form, [ROW], compression="gzip")
    write(plain, form, [ROW])
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert (extension(form, "gzip"), media_type(form, "gzip")) == (f"{form}.gz", "application/gzip")


def test_what_would_be_lost_is_refused(tmp_path: Path) -> None:
    twice = Rows(("a", "a"), [[(1, 2)]])
    with pytest.raises(ExportRefused, match="same name"):
        write_export(twice, tmp_path / "a", format="json", on_rows=lambda _: None, check=lambda: None)
    for form in ("xlsx", "parquet"):
        with pytest.raises(InvalidOptions, match=form):
            extension(form)


def test_a_query_of_another_database_changes_nothing(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    with sqlite3.connect(path) as made:
        made.execute("create table t (a, b)")
        made.execute("insert into t values (1, 'x'), (null, '')")
    made.close()
    source = open_query(f"sqlite:///{path}", "select a, b from t")
    assert (list(source.columns), [tuple(row) for batch in source.batches() for row in batch]) == (
        ["a", "b"], [(1, "x"), (None, "")],
    )  # fmt: skip
    source.close()
    for statement in ("delete from t", "drop table t", "select no_such from t"):
        with pytest.raises(ExportRefused):
            open_query(f"sqlite:///{path}", statement)
    with pytest.raises(InvalidOptions) as caught:
        open_query("nosuch://me:hunter2@host/x", "select 1")
    assert "hunter2" not in str(caught.value)


def test_a_csv_file_with_a_short_line_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3\n")
    source = open_file(str(path))
    with pytest.raises(ExportRefused, match="line 3"):
        list(source.batches())
    source.close()
    with pytest.raises(ExportRefused):
        open_file(str(tmp_path / "a.parquet"))
