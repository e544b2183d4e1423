"""The most memory that an export takes of files and queries whose rows are wide where nobody expects it.

Each is more than 500 MB when it is decoded, and is exported in a process of its own, whose peak is measured:

- *dictionary*: a parquet file of half a megabyte, in which every row holds one of three texts of a megabyte;
- *narrow, then wide*: a group of 200,000 rows of 20 bytes, and 600 of a megabyte;
- *the same, encoded*: the column begins with a dictionary, which its writer gives up when that is full;
- *lists*: equal numbers, 100,000 in each list, which parquet keeps in some bytes;
- *query*: narrow rows, then wide ones, from Postgres.

Usage: python -m benchmarks.export_memory [--formats csv jsonl parquet]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

BAR_MB = 300
_MB = 1_000_000
_WIDE = 600
_NARROW = 200_000
_QUERY = (
    f"select repeat('x', case when n <= {_NARROW} then 20 else {_MB} end) as a"  # noqa: S608 - ours
    f"  from generate_series(1, {_NARROW + _WIDE}) n"
)


def write_dictionary(target: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    values = pa.array([letter * _MB for letter in "abc"])
    indices = pa.array([number % 3 for number in range(_WIDE)], pa.int32())
    table = pa.table({"a": pa.DictionaryArray.from_arrays(indices, values), "n": pa.array(range(_WIDE))})
    # Without Arrow's own schema: a reader then decodes the texts, as it does those of other writers.
    parquet.write_table(table, target, store_schema=False)


def write_narrow_then_wide(target: Path, column: str = "b") -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = pa.array(["x" * 20] * _NARROW + [f"{number:07}" + "x" * (_MB - 7) for number in range(_WIDE)])
    # Pages of a few rows, as writers that count bytes make them: a page is in memory as a whole.
    other = pa.array([f"{number}" for number in range(len(rows))])
    # One column with a dictionary that is given up when it is full, which is what writers do, and one without.
    encoded: Any = [column]  # its types forget that it takes a list
    parquet.write_table(pa.table({"a": rows, "b": other}), target, use_dictionary=encoded, write_batch_size=16)


def write_lists(target: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"a": pa.array([[7] * 100_000] * 700)}), target)


CASES: dict[str, Callable[[Path], None]] = {
    "dictionary": write_dictionary,
    "narrow, then wide": write_narrow_then_wide,
    "the same, encoded": lambda target: write_narrow_then_wide(target, "a"),
    "lists": write_lists,
}


def one(source: str, target: str, form: str) -> None:
    """Export in this process and print its peak in MB, and the rows."""
    from tasks.export import open_file, open_query, write_export

    rows = open_query(source, _QUERY) if source.startswith("postgresql:") else open_file(source)
    written = write_export(rows, Path(target), format=form, on_rows=lambda _: None, check=lambda: None)
    rows.close()
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, written.rows]))


def measured(source: str, target: Path, form: str) -> tuple[float, int]:
    command = [sys.executable, "-m", "benchmarks.export_memory", "--one", source, str(target), form]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak, rows = json.loads(done.stdout)
    target.unlink()
    return peak, rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--formats", nargs="+", default=["csv", "jsonl", "parquet"])
    given = parser.parse_args()
    from tests.postgres_server import running_postgres

    missed = 0
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder, running_postgres() as postgres:
        for name, make in (*CASES.items(), ("query", None)):
            source = postgres.url() if make is None else str(Path(folder) / "source.parquet")
            if make is not None:
                make_in_a_process(name, source)
            for form in given.formats:
                peak, rows = measured(source, Path(folder) / f"target.{form}", form)
                missed += peak > BAR_MB
                print(f"{name:18} {form:8} {rows:8,} rows, peak {peak:.0f} MB (bar {BAR_MB})", flush=True)
    return 1 if missed else 0


def make_in_a_process(name: str, source: str) -> None:
    """Write the source elsewhere: a child's peak begins with what its parent has in memory."""
    subprocess.run([sys.executable, "-m", "benchmarks.export_memory", "--make", name, source], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    elif sys.argv[1:2] == ["--make"]:
        CASES[sys.argv[2]](Path(sys.argv[3]))
    else:
        sys.exit(main())
