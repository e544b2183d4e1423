"""Exports of 1,000,000 rows by 8 columns in each format, against the bare library on the same rows in the same run.

Every measurement is a process of its own: the median of its times, and the most memory that one of them takes. Imports
come before the clock starts. The rows come from a parquet file, so that reading is the same for both. Afterwards DuckDB
compares each file with the source, cell by cell; it reads no xlsx, so openpyxl does, which takes minutes (``--xlsx``).

Usage: python -m benchmarks.export_formats [--rows 1000000] [--rounds 3] [--xlsx]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

FORMATS = ("csv", "json", "jsonl", "xlsx", "parquet")
TIME_BAR, MEMORY_BAR_MB = 1.25, 300
_BATCH_ROWS = 16_384
_GROUP_ROWS = 65_536


def make_source(target: str, rows: str) -> None:
    """Write *rows* rows of eight types."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.default_rng(7)
    words = np.array(["=1+1", "007", 'a "quoted", text', "two\nlines", "Zürich", "😀", "yes", "", None], dtype=object)
    with parquet.ParquetWriter(target, _schema()) as writer:
        for start in range(0, int(rows), _GROUP_ROWS):
            count = min(_GROUP_ROWS, int(rows) - start)
            numbers = np.arange(start, start + count)
            cents = pa.array(random.integers(-(10**9), 10**9, count)).cast(pa.decimal128(19, 0))
            columns = [
                pa.array(numbers),
                pa.array(random.random(count)),
                pa.array([value.scaleb(-2) for value in cents.to_pylist()], pa.decimal128(12, 2)),
                pa.array([f"customer {number % 9973}" for number in numbers], pa.string()),
                pa.array(words[random.integers(0, len(words), count)], pa.string()),
                pa.array((1_700_000_000_005 + numbers * 1000) * 1000, pa.timestamp("us", "UTC")),
                pa.array(random.integers(0, 2, count) == 1),
                pa.array((numbers % 20_000).astype("int32")).cast(pa.date32()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=_schema()), row_group_size=count)


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        {
            "id": pa.int64(), "share": pa.float64(), "price": pa.decimal128(12, 2), "customer": pa.string(),
            "note": pa.string(), "at": pa.timestamp("us", "UTC"), "paid": pa.bool_(), "day": pa.date32(),
        }
    )  # fmt: skip


def write_ours(source: Path, target: Path, form: str) -> None:
    from tasks.export import open_file, write_export

    rows = open_file(str(source))
    write_export(rows, target, format=form, on_rows=lambda _: None, check=lambda: None)
    rows.close()


def write_bare(source: Path, target: Path, form: str) -> None:
    from pyarrow import csv, parquet

    file = parquet.ParquetFile(source, pre_buffer=False)
    batches = file.iter_batches(_BATCH_ROWS)
    schema = file.schema_arrow
    if form == "csv":
        with csv.CSVWriter(target, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    elif form == "parquet":
        with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
            for batch in file.iter_batches(_GROUP_ROWS):
                writer.write_batch(batch, row_group_size=_GROUP_ROWS)
    elif form == "xlsx":
        from rustpy_xlsxwriter import write_worksheet

        write_worksheet((row for batch in batches for row in batch.to_pylist()), str(target), "Export")
    else:
        _write_bare_json(batches, target, lines=form == "jsonl")


def _write_bare_json(batches: Iterator[Any], target: Path, *, lines: bool) -> None:
    import orjson

    between = b"\n" if lines else b",\n"
    with target.open("wb") as stream:
        stream.write(b"" if lines else b"[")
        for number, batch in enumerate(batches):
            stream.write(between if number else b"")
            stream.write(between.join(orjson.dumps(row, default=str) for row in batch.to_pylist()))
        stream.write(b"\n" if lines else b"]\n")


def measured(how: str, source: Path, target: Path, form: str) -> tuple[float, float]:
    """Return the seconds and the peak in MB of one export in a process of its own."""
    seconds, peak = in_a_process("one", how, source, target, form)
    return seconds, peak


def in_a_process(function: str, *arguments: str | Path) -> Any:
    """Call a function of this module in a new process, and return its result. This process stays small: the peak of a
    child counts from before it became another program."""
    command = [sys.executable, "-m", "benchmarks.export_formats", f"--call={function}", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def one(how: str, source: str, target: str, form: str) -> tuple[float, float]:
    """Write one export. Return its seconds, without imports, and the peak of this process in MB."""
    from pyarrow import csv, parquet  # noqa: F401

    if how == "ours":
        from tasks.export import csv_format, json_format, parquet_format, xlsx_format  # noqa: F401
    elif form == "xlsx":
        import rustpy_xlsxwriter  # noqa: F401

    started = time.perf_counter()
    (write_ours if how == "ours" else write_bare)(Path(source), Path(target), form)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def differing_rows(source: str, target: str, form: str) -> int:
    """Return how many rows DuckDB finds in one of the two files and not in the other."""
    import duckdb

    types = {
        "id": "bigint", "share": "double", "price": "decimal(12,2)", "customer": "varchar", "note": "varchar",
        "at": "timestamptz", "paid": "boolean", "day": "date",
    }  # fmt: skip
    given = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in types.items()) + "}"
    reader = {
        "csv": f"read_csv('{target}', columns={given}, header=true, allow_quoted_nulls=false, new_line='\\n')",
        "json": f"read_json('{target}', columns={given}, format='array')",
        "jsonl": f"read_json('{target}', columns={given}, format='newline_delimited')",
        "parquet": f"read_parquet('{target}')",
    }[form]
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        one_way, other = (
            connection.execute(f"select count(*) from (select * from {a} except all select * from {b})").fetchone()  # noqa: S608
            for a, b in itertools.permutations((f"read_parquet('{source}')", reader))
        )
    return one_way[0] + other[0]


def differing_cells(source: str, target: str) -> int:
    """Return how many cells of an xlsx file openpyxl reads as something else than the source has."""
    import openpyxl
    from pyarrow import parquet

    sheet = openpyxl.load_workbook(target, read_only=True).worksheets[0].iter_rows(min_row=2, values_only=True)
    differing = 0
    for batch in parquet.ParquetFile(source).iter_batches(_BATCH_ROWS):
        for row, cells in zip(batch.to_pylist(), sheet, strict=False):
            differing += sum(_as_cell(value) != _rounded(cell) for value, cell in zip(row.values(), cells, strict=True))
    return differing + sum(1 for _ in sheet)


def _as_cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return _rounded(value.astimezone(UTC).replace(tzinfo=None))
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return float(value) if hasattr(value, "as_tuple") else value or (None if value == "" else value)


def _rounded(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return (value + timedelta(microseconds=500)).replace(microsecond=(value.microsecond + 500) // 1000 % 1000 * 1000)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--xlsx", action="store_true", help="read the xlsx file back as well")
    given = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder:
        source = Path(folder) / "source.parquet"
        in_a_process("make_source", source, str(given.rows))
        for form in FORMATS:
            target = Path(folder) / f"target.{form}"
            seen: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
            for _ in range(given.rounds):
                for how, found in seen.items():  # in turn, so that a busy minute meets both
                    found.append(measured(how, source, target, form))
            bare, ours = (statistics.median(seconds for seconds, _ in found) for found in seen.values())
            peak = max(peak for _, peak in seen["ours"])
            ratio = ours / bare
            missed += ratio > TIME_BAR or peak > MEMORY_BAR_MB
            line = f"{form:8} {ours:6.2f} s, bare {bare:6.2f} s: ratio {ratio:.2f} (bar {TIME_BAR}); peak {peak:.0f} MB"
            if form != "xlsx":
                wrong = f"{in_a_process('differing_rows', source, target, form)} rows differ"
            elif given.xlsx:
                wrong = f"{in_a_process('differing_cells', source, target)} cells differ"
            else:
                wrong = "not read back"
            print(f"{line} (bar {MEMORY_BAR_MB}); {wrong}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--call="):
        print(json.dumps(globals()[sys.argv[1].partition("=")[2]](*sys.argv[2:])))
    else:
        sys.exit(main())
