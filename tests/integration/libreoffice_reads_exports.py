"""LibreOffice opens exports as xlsx and csv, and every cell is compared with what was exported.

Not a test of the suite, because LibreOffice takes minutes to install (Debian: ``apt-get install libreoffice-calc``).

Usage: python -m tests.integration.libreoffice_reads_exports
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa

from tasks.export import write_export
from tasks.export.source import ArrowSource
from tests.integration.libreoffice_cells import Cell, cells_of

HALF_PAST_FIVE = timezone(timedelta(hours=5, minutes=30))
LONGEST = "x" * 32_766 + "é"

# Text of a cell in both formats, unless another one is given for csv.
TEXTS: dict[str, str] = {
    "formula": "=1+1",
    "formula with plus": "+1+1",
    "formula with minus": "-1+1",
    "formula with at": "@SUM(A1:A2)",
    "formula after a tab": "\t=1+1",
    "command": "=cmd|' /C calc'!A0",
    "link": '=HYPERLINK("http://example.org", "x")',
    "leading zeros": "007",
    "number with an exponent": "1e5",
    "date": "2026-01-02",
    "fraction": "1/2",
    "boolean": "TRUE",
    "percent": "12%",
    "quotes": 'a "quoted", text',
    "two lines": "one\ntwo",
    "spaces": "  a   b  ",
    "apostrophe": "'=1+1",
    "emoji": "Zürich 😀",
    "escape": "_x0041_",
    "longest": LONGEST,
}
NUL = "a\x00b"


# Columns that are read as text: what a csv holds has no type, and LibreOffice would round long numbers.
IN_CSV: dict[str, list[Cell]] = {
    "small": [("text", "1"), ("text", "-3")],
    "exact": [("text", str(10**15 - 1)), ("text", str(-(10**15 - 1)))],
    "large": [("text", str(2**53 + 1)), ("text", str(-(2**63)))],
    "share": [("text", "0.1"), ("text", "1e-300")],
    "price": [("text", "12.30"), ("text", "-0.01")],
    "digits": [("text", "1234567890123456789012345678.91"), ("text", "1.00")],
    "at": [("text", "2026-01-01 21:34:05.006Z"), ("text", "2026-01-02 21:34:05.006Z")],
    "local": [("text", "2026-01-02 03:04:05.006"), ("text", "1900-03-01 00:00:00.000")],
    "paid": [("text", "true"), ("text", "false")],
    "nested": [("text", f'[1,"{2**53 + 1}"]'), ("text", "[]")],
    "nothing": [("empty", None), ("empty", None)],
}


def main() -> int:
    """Compare; return 1 if a cell differs, 2 without LibreOffice."""
    office = shutil.which("soffice") or shutil.which("libreoffice")
    if office is None:
        print("LibreOffice is not installed: apt-get install libreoffice-calc", file=sys.stderr)
        return 2
    wrong = count = 0
    with tempfile.TemporaryDirectory(prefix="waybill-office-") as folder:
        for form in ("xlsx", "csv"):
            compared = list(differences(office, Path(folder), form))
            count += len(compared)
            for name, expected, found in compared:
                if expected != found:
                    wrong += 1
                    print(f"{form}: {name}: expected {_short(expected)}, LibreOffice has {_short(found)}")
    print(f"{count} cells compared, {wrong} differ")
    return 1 if wrong else 0


def differences(office: str, folder: Path, form: str) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield the name, the expected cell and LibreOffice's of each cell of both exports."""
    for what, schema, rows, expected in (_texts(form), _values(form)):
        target = folder / f"{what}.{form}"
        batch = pa.RecordBatch.from_pylist(rows, schema=schema)
        source = ArrowSource(schema, lambda batch=batch: iter([batch]))
        write_export(source, target, format=form, on_rows=lambda _: None, check=lambda: None)
        header, *lines = read(office, folder, target, columns=len(schema))
        yield f"{what}: header", ("text", ",".join(expected)), ("text", ",".join(str(cell[1]) for cell in header))
        assert len(lines) == len(rows), f"{len(lines)} rows instead of {len(rows)}"
        for number, line in enumerate(lines):
            for (name, cells), found in zip(expected.items(), line, strict=True):
                yield f"{what}: {name} {number}", cells[number], found


def _texts(form: str) -> tuple[str, Any, list[dict[str, Any]], dict[str, list[Cell]]]:
    schema = pa.schema({"name": pa.string(), "text": pa.string()})
    texts = {**TEXTS, "NUL": NUL}
    rows = [{"name": name, "text": text} for name, text in texts.items()]
    # A cell of LibreOffice has no NUL: it leaves the character out.
    left = {NUL: "ab"}
    return "texts", schema, rows, {
        "name": [("text", name) for name in texts],
        "text": [("text", left.get(text, text)) for text in texts.values()],
    }  # fmt: skip


def _values(form: str) -> tuple[str, Any, list[dict[str, Any]], dict[str, list[Cell]]]:
    at = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=HALF_PAST_FIVE)
    given: dict[str, tuple[Any, list[Any]]] = {
        "small": (pa.int32(), [1, -3]),
        "exact": (pa.int64(), [10**15 - 1, -(10**15 - 1)]),
        "large": (pa.int64(), [2**53 + 1, -(2**63)]),
        "share": (pa.float64(), [0.1, 1e-300]),
        "price": (pa.decimal128(12, 2), [Decimal("12.30"), Decimal("-0.01")]),
        "digits": (pa.decimal128(30, 2), [Decimal("1234567890123456789012345678.91"), Decimal("1.00")]),
        "at": (pa.timestamp("ms", "+05:30"), [at, at + timedelta(days=1)]),
        "local": (pa.timestamp("ms"), [at.replace(tzinfo=None), datetime(1900, 3, 1, tzinfo=UTC).replace(tzinfo=None)]),
        "paid": (pa.bool_(), [True, False]),
        "nested": (pa.list_(pa.int64()), [[1, 2**53 + 1], []]),
        "nothing": (pa.string(), [None, None]),
    }
    expected = _in_a_sheet(at) if form == "xlsx" else IN_CSV
    schema = pa.schema({name: kind for name, (kind, _) in given.items()})
    rows = [{name: values[number] for name, (_, values) in given.items()} for number in range(2)]
    return "values", schema, rows, expected


def _in_a_sheet(at: datetime) -> dict[str, list[Cell]]:
    utc = at.astimezone(UTC)
    return {
        "small": [("number", 1), ("number", -3)],
        "exact": [("number", 10**15 - 1), ("number", -(10**15 - 1))],
        "large": [("text", str(2**53 + 1)), ("text", str(-(2**63)))],
        "share": [("number", 0.1), ("number", 1e-300)],
        "price": [("number", 12.3), ("number", -0.01)],
        "digits": [("text", "1234567890123456789012345678.91"), ("number", 1)],
        "at (UTC)": [("time", shown(utc)), ("time", shown(utc + timedelta(days=1)))],
        "local": [("time", shown(at)), ("time", "1900-03-01 00:00:00.000")],
        "paid": [("boolean", True), ("boolean", False)],
        "nested": [("text", f'[1,"{2**53 + 1}"]'), ("text", "[]")],
        "nothing": [("empty", None), ("empty", None)],
    }


def shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def read(office: str, folder: Path, target: Path, *, columns: int) -> list[list[Cell]]:
    """Return the cells of a file as LibreOffice has them."""
    profile = (folder / "profile").as_uri()
    command = [office, f"-env:UserInstallation={profile}", "--headless", "--norestore"]
    if target.suffix == ".csv":
        # Comma, quotation mark, UTF-8, from line 1, and each column is text.
        kinds = "/".join(f"{number}/2" for number in range(1, columns + 1))
        command.append(f"--infilter=CSV:44,34,76,1,{kinds}")
    subprocess.run(
        [*command, "--convert-to", "fods", "--outdir", str(folder / "read"), str(target)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300,
    )  # fmt: skip
    document = ElementTree.parse(folder / "read" / f"{target.stem}.fods")  # noqa: S314 - LibreOffice's own
    return cells_of(document.getroot())


def _short(cell: Cell) -> str:
    text = repr(cell)
    return text if len(text) < 200 else f"{text[:90]} ... {text[-90:]} ({len(text)})"


if __name__ == "__main__":
    sys.exit(main())
