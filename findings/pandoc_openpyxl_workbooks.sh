#!/usr/bin/env bash
# pandoc 3.9 reads no workbook that openpyxl has written.
#
# Behaviour: `pandoc book.xlsx` fails for each workbook that openpyxl saves, also an empty one: "Failed to parse XLSX: Entry
#   not found: xl//xl/worksheets/sheet1.xml". openpyxl names its sheets from the root of the package ("/xl/worksheets/
#   sheet1.xml"); pandoc puts "xl/" before each target, whether it begins with "/" or not.
# Why one would expect otherwise: both forms of a target are allowed (ECMA-376 part 2, targets are references that are
#   resolved against the source part), Excel and LibreOffice read both, and openpyxl is what most Python programs,
#   pandas among them, write workbooks with. The format is listed by --list-input-formats without a remark.
# Consequence: rewrite the relationships before pandoc, or read such workbooks with something else.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pypandoc-binary==1.17 openpyxl==3.1.5

echo "pandoc 3.9 (pypandoc-binary 1.17): a workbook of openpyxl 3.1.5 is refused."
echo "Expected by most readers: its two cells as a table, as for the same workbook with relative targets."
echo
venv/bin/python - <<'PY'
import subprocess
import sys
import zipfile

import openpyxl
import pypandoc

book = openpyxl.Workbook()
book.active.append(["Car", "Seats"])
book.active.append([31, 52])
book.save("root.xlsx")

RELATIONS = "xl/_rels/workbook.xml.rels"
with zipfile.ZipFile("root.xlsx") as before, zipfile.ZipFile("relative.xlsx", "w") as after:
    for name in before.namelist():
        data = before.read(name)
        after.writestr(name, data.replace(b'Target="/xl/', b'Target="') if name == RELATIONS else data)
    print("targets as openpyxl writes them:", before.read(RELATIONS).split(b'Target="')[1].split(b'"')[0].decode())


def read(path):
    done = subprocess.run([pypandoc.get_pandoc_path(), path, "--to=plain"], capture_output=True, text=True)
    print(f"\n{path}: exit code {done.returncode}\n{(done.stdout + done.stderr).strip()}")
    return done


refused, accepted = read("root.xlsx"), read("relative.xlsx")
if refused.returncode == 0 or "xl//xl/worksheets/sheet1.xml" not in refused.stderr:
    sys.exit("NOT AS DESCRIBED: the workbook of openpyxl is read")
if accepted.returncode != 0 or "52" not in accepted.stdout:
    sys.exit("NOT AS DESCRIBED: the workbook with relative targets is not read either")
print("\nAs described: only the spelling of the targets differs, and the first workbook is refused.")
PY
