"""LibreOffice shows numbers in the formats of the tests, and what it shows is compared with what stage 1 makes of them.

Not a test of the suite, because LibreOffice takes minutes to install (Debian: ``apt-get install libreoffice-calc``).
Where it is known to differ from Excel, Excel's way counts.

Usage: python -m tests.integration.libreoffice_shows_formats
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import openpyxl

from tests.unit.test_number_formats import NUMBERS

# As shown, in UTF-8, with every cell quoted.
_FILTER = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,true,true"


def main() -> int:
    """Print each number that LibreOffice shows in another way, without a known reason; 1 when there is one."""
    office = shutil.which("soffice")
    if office is None:
        print("LibreOffice is not installed")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "formats.xlsx"
        _write(path)
        subprocess.run(
            [
                office,
                f"-env:UserInstallation=file://{folder}/profile",
                "--headless",
                "--convert-to",
                _FILTER,
                path.name,
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=300,
        )
        with path.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
            shown = [" ".join(row[1].split()) for row in csv.reader(file)]
    different = [
        (code, value, ours, theirs)
        for (code, value, ours), theirs in zip(NUMBERS, shown, strict=True)
        if ours != theirs and not _differs_from_excel(code)
    ]
    for code, value, ours, theirs in different:
        print(f"{value!r} by {code!r}: {ours!r}, LibreOffice {theirs!r}")
    print(f"{len(NUMBERS)} numbers, {len(different)} differ")
    return 1 if different else 0


def _write(path: Path) -> None:
    book = openpyxl.Workbook()
    for number, (code, value, _) in enumerate(NUMBERS, start=1):
        book.active.cell(number, 1, "x")
        book.active.cell(number, 2, value).number_format = code
    book.save(str(path))


def _differs_from_excel(code: str) -> bool:
    """Return whether LibreOffice has a way of its own.

    General has as many digits as there is room, and exponents of three digits; a fraction is the nearest one; a point
    without decimals is left out; numerals of East Asia are written.
    """
    return "General" in code or "?/" in code or code == "0.#" or "DBNum" in code


if __name__ == "__main__":
    sys.exit(main())
