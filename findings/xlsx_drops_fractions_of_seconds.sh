#!/usr/bin/env bash
# rustpy-xlsxwriter 0.8.0 cuts the fraction of a second off every datetime, whatever its number format shows.
#
# Behaviour: a datetime with microseconds is stored as a serial number of whole seconds, also when `datetime_format` asks
#   for milliseconds. Nothing is raised and nothing is logged.
# Why one would expect otherwise: xlsx stores a time as a fraction of a day, which has room for milliseconds. openpyxl and
#   XlsxWriter write them, and the number format says that they are wanted.
# Consequence: write a serial number with a date format instead of a datetime.
#
# Output seen:
#   rustpy-xlsxwriter, datetime:      2026-01-02 03:04:05
#   openpyxl, datetime:               2026-01-02 03:04:05.250000
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check rustpy-xlsxwriter==0.8.0 openpyxl==3.1.5

echo "rustpy-xlsxwriter 0.8.0: a datetime with a quarter of a second, read back with openpyxl."
echo "Expected by most readers: the quarter of a second is there, as with openpyxl's own writer."
echo
venv/bin/python - <<'PY'
import datetime
import sys

import openpyxl
from rustpy_xlsxwriter import write_worksheet

moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 250_000)
write_worksheet([{"at": moment}], "rust.xlsx", "times", datetime_format="yyyy-mm-dd hh:mm:ss.000")
write_worksheet([{"at": moment}], "plain.xlsx", "times")
workbook = openpyxl.Workbook()
workbook.active.append(["at"])
workbook.active.append([moment])
workbook.save("openpyxl.xlsx")


def read(name):
    return openpyxl.load_workbook(name).active["A2"].value


print("rustpy-xlsxwriter, datetime:     ", read("rust.xlsx"))
print("openpyxl, datetime:              ", read("openpyxl.xlsx"))
if read("openpyxl.xlsx") != moment:
    sys.exit("NOT AS DESCRIBED: openpyxl does not keep the fraction either")
if {read("rust.xlsx"), read("plain.xlsx")} != {moment.replace(microsecond=0)}:
    sys.exit("NOT AS DESCRIBED: the fraction is kept")
print("As described: the fraction of the second is gone.")
PY
