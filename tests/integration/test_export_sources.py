"""Rows of databases as they are: values of Postgres that Python has no form for, and what a query may not do."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import psycopg
import pyarrow as pa
import pytest

from blocks.errors import ExportRefused, InvalidOptions
from blocks.settings import Settings
from tasks.export import FORMATS, open_query, write_export
from tasks.export_source import named_database
from tests.child_processes import children_with
from tests.stack_driver import eventually

TYPES = """
    select 32767::int2 as small, 9223372036854775807::int8 as big, 0.1::float4 as real, 'nan'::float8 as not_a_number,
           12345678901234567890123456789012345678.91::numeric(40, 2) as long_decimal, 1.50::numeric(10, 2) as price,
           1e-20::numeric as tiny, 'NaN'::numeric as odd, true as yes, 'a' || chr(10) || '😀' as words,
           '\\x00ff'::bytea as raw,
           date '4000-01-01 BC' as old_day, date '12345-06-07' as far_day, time '01:02:03.000004' as at,
           timetz '01:02:03+05:30' as at_zone, timestamp '0044-03-15 12:00:00 BC' as ides,
           timestamptz '2026-01-02 03:04:05.000600+05:30' as moment, interval '1 year -2 days 3.5 s' as lasts,
           '6f1c0b1a-0000-4000-8000-000000000001'::uuid as id, '{"a": 99999999999999999999}'::jsonb as tree,
           array[1, null, 3] as numbers, array['a', null, ''] as texts, array[[1, 2], [3, 4]]::text as square,
           int4range(1, 5) as span, '10.0.0.0/8'::cidr as net, null as nothing, '[1,2]'::vector as place
"""
EXPECTED: dict[str, Any] = {
    "small": 32767, "big": 2**63 - 1, "long_decimal": Decimal("12345678901234567890123456789012345678.91"),
    "price": Decimal("1.50"), "tiny": "0.00000000000000000001", "odd": "NaN", "yes": True, "words": "a\n😀",
    "raw": b"\x00\xff", "at_zone": "01:02:03+05:30", "lasts": "P1Y-2DT3.5S",
    "id": "6f1c0b1a-0000-4000-8000-000000000001", "tree": '{"a": 99999999999999999999}', "numbers": [1, None, 3],
    "texts": ["a", None, ""], "square": "{{1,2},{3,4}}", "span": "[1,5)", "net": "10.0.0.0/8", "nothing": None,
    "place": "[1,2]",
}  # fmt: skip
TIMES = {
    "old_day": "-3999-01-01", "far_day": "12345-06-07", "at": "01:02:03.000004", "ides": "-0043-03-15 12:00:00.000000",
    "moment": "2026-01-01 21:34:05.000600Z",
}  # fmt: skip


def test_values_of_postgres_keep_their_types_and_digits(database_url: str, tmp_path: Path) -> None:
    source = open_query(database_url, TYPES)
    (batch,) = source.batches()
    source.close()
    row = {
        name: column[0].as_py()
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if name in EXPECTED
    }
    assert row == EXPECTED
    assert {name: batch.column(name).cast(pa.string())[0].as_py() for name in TIMES} == TIMES
    for form in FORMATS:
        source = open_query(database_url, TYPES)
        written = write_export(source, tmp_path / f"a.{form}", format=form, on_rows=lambda _: None, check=lambda: None)
        source.close()
        assert (written.rows, written.columns) == (1, len(batch.schema)), form
    shown = openpyxl.load_workbook(tmp_path / "a.xlsx").worksheets[0]
    cells = dict(zip(*([cell.value for cell in line] for line in shown.iter_rows()), strict=True))
    assert (cells["big"], cells["price"], cells["odd"], cells["ides"], cells["real"]) == (
        "9223372036854775807", 1.5, "NaN", "-0043-03-15 12:00:00.000", 0.1,
    )  # fmt: skip
    with duckdb.connect() as reader:
        found = reader.execute(
            "select big, price, words, raw, numbers from read_parquet(?)", [str(tmp_path / "a.parquet")]
        )
        assert found.fetchall() == [(2**63 - 1, Decimal("1.50"), "a\n😀", b"\x00\xff", [1, None, 3])]


@pytest.mark.parametrize(
    "value",
    [
        "case n when 7001 then timestamptz 'infinity' end",
        "case n when 7001 then date '-infinity' end",
        "(case n when 7001 then 'NaN' end)::numeric(5, 1)",
        "case n when 7001 then time '24:00' end",
        "case n when 7001 then array[[1,2],[3,4]] end",
    ],
)
def test_a_value_without_a_form_is_refused_by_column_and_row(database_url: str, value: str) -> None:
    source = open_query(
        database_url,
        "select VALUE as wrong from generate_series(1, 8000) n".replace("VALUE", value),
    )
    with pytest.raises(ExportRefused, match=r"column 'wrong', row 7001: .*cast"):
        list(source.batches())
    source.close()


def test_a_statement_that_is_no_query_is_told_what_an_export_takes(database_url: str) -> None:
    for statement in ("delete from artifacts", "nonsense"):
        with pytest.raises(ExportRefused, match=r"syntax error at or near .*an export is one query that reads"):
            open_query(database_url, statement)
    with pytest.raises(ExportRefused, match=r'relation "nowhere" does not exist$'):
        open_query(database_url, "select a from nowhere")


def test_an_unknown_connection_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions, match="no connection 'sales', only catalog; add it to that table"):
        named_database(Settings(home=tmp_path), "sales")


@pytest.mark.parametrize(
    "statement",
    ["select 1; select 2", "select 1; reset role", "delete from artifacts", "reset role", "set role postgres",
     "nonsense", "select $1",
     "with gone as (delete from artifacts returning 1) select * from gone", "select nextval('audit_log_entry_id_seq')",
     "\ud800"],
)  # fmt: skip
def test_only_one_query_runs_and_it_only_reads(database_url: str, statement: str) -> None:
    with pytest.raises(ExportRefused):
        source = open_query(database_url, statement)
        try:
            list(source.batches())
        finally:
            source.close()


def test_wide_rows_of_postgres_come_in_small_batches(database_url: str) -> None:
    source = open_query(database_url, "select repeat('x', 100000) as a from generate_series(1, 200)")
    batches = [batch.num_rows for batch in source.batches()]
    source.close()
    assert sum(batches) == 200 and max(batches) <= 50


def test_rows_that_become_wide_in_the_middle_come_in_small_batches(database_url: str) -> None:
    sql = "select repeat('x', case when n <= 5000 then 1 else 1000000 end) as a from generate_series(1, 5040) n"
    source = open_query(database_url, sql)
    sizes = [(batch.num_rows, batch.nbytes) for batch in source.batches()]
    source.close()
    assert sum(rows for rows, _ in sizes) == 5040
    assert max(size for _, size in sizes) < 5 * 2**20


def test_a_query_that_gives_no_row_ends_when_its_caller_goes_and_no_other_does(database_url: str) -> None:
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise ValueError("gone")

    other = open_query(database_url, "select pg_sleep(0.2)::text || n as a from generate_series(1, 5) n")
    waiting = open_query(database_url, "select pg_sleep(3600)::text as a", check=check)
    rows = waiting.batches()
    threading.Timer(0.2, gone.set).start()
    with pytest.raises(ValueError, match="gone"):
        next(rows)
    waiting.close()
    assert sum(batch.num_rows for batch in other.batches()) == 5
    other.close()


def test_a_query_that_lifts_the_limit_of_the_server_ends_in_time(database_url: str) -> None:
    lifted = (
        "select n, set_config('statement_timeout', '0', false), pg_sleep(0.01)::text from generate_series(1, 1000000) n"
    )
    with pytest.raises(ExportRefused, match="time limit"):
        source = open_query(database_url, lifted, time_limit=timedelta(seconds=1))
        try:
            list(source.batches())
        finally:
            source.close()


def test_a_query_ends_at_its_time_limit_and_runs_as_its_role(database_url: str) -> None:
    with pytest.raises(ExportRefused, match="time limit"):
        source = open_query(database_url, "select pg_sleep(60)", time_limit=timedelta(milliseconds=50))
        try:
            list(source.batches())
        finally:
            source.close()
    source = open_query(database_url, "select current_user::text as me", role="pg_read_all_stats")
    assert next(source.batches()).to_pylist() == [{"me": "pg_read_all_stats"}]
    source.close()
    with psycopg.connect(database_url) as connection:
        sessions = (
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        )
        connection.autocommit = True
        # A session of the server ends a moment after its connection.
        eventually(lambda: connection.execute(sessions).fetchone() == (0,), "no session is left")


def test_no_columns_and_no_rows_are_files_too(database_url: str, tmp_path: Path) -> None:
    for form in FORMATS:
        for sql, rows, columns in (("select 1 as a where false", 0, 1), ("select from generate_series(1, 3)", 3, 0)):
            source = open_query(database_url, sql)
            written = write_export(source, tmp_path / "a", format=form, on_rows=lambda _: None, check=lambda: None)
            source.close()
            assert (written.rows, written.columns) == (rows, columns), (form, sql)


def test_an_adbc_driver_reads_and_its_url_is_not_repeated(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    with sqlite3.connect(path) as made:
        made.executescript("create table t (a integer, b text); insert into t values (1, 'x'), (null, '')")
    made.close()
    source = open_query(f"adbc:adbc_driver_sqlite:file:{path}?mode=ro", "select a, b from t")
    assert [row for batch in source.batches() for row in batch.to_pylist()] == [
        {"a": 1, "b": "x"},
        {"a": None, "b": ""},
    ]
    source.close()
    for url in ("adbc:no_such_driver:hunter2", "adbc:", f"adbc:adbc_driver_sqlite:file:{tmp_path}/hunter2/b?mode=ro"):
        with pytest.raises((InvalidOptions, ExportRefused)) as caught:
            open_query(url, "select 1 from t")
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ExportRefused):
        open_query(f"adbc:adbc_driver_sqlite:file:{path}?mode=ro", "delete from t")


ENDLESS = "with recursive x(a) as (select 1 union all select a + 1 from x) select a from x where a < 0"


def test_an_adbc_query_that_gives_no_row_ends_at_its_limit_and_when_its_caller_goes(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    sqlite3.connect(path).close()
    url = f"adbc:adbc_driver_sqlite:file:{path}"
    with pytest.raises(ExportRefused, match="time limit"):
        open_query(url, ENDLESS, time_limit=timedelta(seconds=1))

    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise ValueError("gone")

    # The first rows come at once, and then none: it is ended while it is read.
    source = open_query(url, ENDLESS.replace("a < 0", "a < 5000"), check=check)
    rows = source.batches()
    assert next(rows).num_rows > 0
    gone.set()
    with pytest.raises(ValueError, match="gone"):
        list(rows)
    source.close()
    with pytest.raises(ValueError, match="gone"):
        open_query(url, ENDLESS, check=check)


def test_an_adbc_driver_that_crashes_is_no_end_of_the_rows(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    sqlite3.connect(path).close()
    source = open_query(f"adbc:adbc_driver_sqlite:file:{path}", ENDLESS.replace("a < 0", "a < 5000"))
    rows = source.batches()
    next(rows)
    (process,) = children_with("tasks.export.adbc_process")
    process.kill()
    with pytest.raises(ExportRefused, match="driver crashed"):
        list(rows)
    source.close()


def test_an_adbc_query_of_sqlite_is_one_statement(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    import sqlite3

    with sqlite3.connect(path) as database:
        database.execute("create table t (a text)")
        database.execute("insert into t values ('x;y')")
    url = f"adbc:adbc_driver_sqlite:file:{path}?mode=ro"
    for several in (
        "select a from t; select 2",
        "select a from t;; /* then */ nonsense",
        "select 1;\n-- and\nselect 2;",
    ):
        with pytest.raises(ExportRefused, match="more than one statement"):
            open_query(url, several)
    for one in (
        "select a from t;",
        "select a from t where a = 'x;y' ; -- the end; of it",
        "/* a; b */ select a from t;;",
    ):
        source = open_query(url, one)
        assert [batch.to_pylist() for batch in source.batches()] == [[{"a": "x;y"}]]
        source.close()


def test_an_adbc_query_of_sqlite_writes_nothing(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "a.db"
    with sqlite3.connect(path) as made:
        made.executescript("create table t (a integer); insert into t values (1), (2)")
    made.close()
    for statement in (
        "with gone as (select 1) delete from t returning a",
        "with more as (select 3 as a) insert into t select a from more",
    ):
        with pytest.raises(ExportRefused):
            source = open_query(f"adbc:adbc_driver_sqlite:file:{path}", statement)
            try:
                list(source.batches())
            finally:
                source.close()
    with sqlite3.connect(path) as made:
        assert made.execute("select a from t").fetchall() == [(1,), (2,)]
    made.close()
