#!/usr/bin/env bash
# rustpy-xlsxwriter 0.8.0 writes the values of a record by their position, although the record names them.
#
# Behaviour: `write_worksheet` takes dictionaries. The header row is the keys of the first one. Of each later
#   dictionary only the order of its values counts, not its keys: {"quantity": 3, "price": 4} under the header
#   price, quantity is written as price 3 and quantity 4. Nothing is raised and nothing is logged.
# Why one would expect otherwise: a list of dictionaries is the form in which the order of keys does not matter. csv.DictWriter,
#   pandas.DataFrame and polars.from_dicts all look each value up by its key.
# Consequence: build every record from one fixed list of columns before the writer sees it.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check rustpy-xlsxwriter==0.8.0 openpyxl==3.1.5

echo "rustpy-xlsxwriter 0.8.0: values of dictionaries are written by position, not by key."
echo "Expected by most readers: each value is in the column that its key names, as with csv.DictWriter."
echo
venv/bin/python - <<'PY'
import csv
import io
import sys

import openpyxl
from rustpy_xlsxwriter import write_worksheet

records = [
    {"price": 1, "quantity": 2},
    {"quantity": 3, "price": 4},  # the same keys, in another order
]

write_worksheet(records, "orders.xlsx", "orders")
seen = [list(row) for row in openpyxl.load_workbook("orders.xlsx").active.iter_rows(values_only=True)]

by_key = io.StringIO()
writer = csv.DictWriter(by_key, ["price", "quantity"])
writer.writeheader()
writer.writerows(records)

print("records:            ", records)
print("rows of the workbook:", seen)
print("csv.DictWriter:     ", by_key.getvalue().split())

if seen != [["price", "quantity"], [1, 2], [3, 4]]:
    sys.exit("NOT AS DESCRIBED: the second row is not written by position")
print("As described: the second record has price 4, the workbook shows price 3.")
PY
