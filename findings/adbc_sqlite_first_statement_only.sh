#!/usr/bin/env bash
# adbc-driver-sqlite 1.13.0: of several statements in one text, the first is run, and the others are dropped without a word.
#
# Behaviour: `execute` of a cursor runs the text up to its first semicolon and reports success. What follows is not run, and not
#   even parsed: a second insert stores no row, and text that is no SQL raises nothing.
# Why one would expect otherwise: Python's sqlite3 refuses such a text with ProgrammingError, with the same SQLite below.
#   Whoever wrote the two statements sees no sign that one is missing.
# Consequence: a program that passes on the SQL of its users counts the statements first, or refuses a text in which
#   something follows the first one.
#
# Output seen:
#   ADBC:    2 inserts in one execute: no error, 1 rows in the table
#   ADBC:    a select and then no SQL: no error, [(1,)]
#   sqlite3: 2 inserts in one execute: ProgrammingError, 0 rows in the table
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  adbc-driver-sqlite==1.13.0 adbc-driver-manager==1.13.0 pyarrow==26.0.1

echo "adbc-driver-sqlite 1.13.0: several statements in one execute."
echo "Expected by most readers: all of them are run, or the text is refused."
echo
venv/bin/python - <<'PY'
import sqlite3
import sys

from adbc_driver_sqlite import dbapi

BOTH = "insert into books values ('first'); insert into books values ('second')"
seen = []


def run(connection, text):
    """Return the name of the error that the text raises, or None."""
    cursor = connection.cursor()
    try:
        cursor.execute(text)
    except Exception as error:
        return type(error).__name__
    finally:
        cursor.close()
    return None


def rows(connection, text):
    cursor = connection.cursor()
    cursor.execute(text)
    found = cursor.fetchall()
    cursor.close()
    return found


for name, module in (("ADBC", dbapi), ("sqlite3", sqlite3)):
    connection = module.connect(":memory:")
    run(connection, "create table books (title text)")
    error = run(connection, BOTH)
    count = rows(connection, "select count(*) from books")[0][0]
    seen.append((error, count))
    print(f"{name + ':':8} 2 inserts in one execute: {error or 'no error'}, {count} rows in the table")
    if name == "ADBC":
        found = rows(connection, "select 1; these words are no statement")
        seen.append(found)
        print(f"{name + ':':8} a select and then no SQL: no error, {found}")
    connection.close()
changed = seen != [(None, 1), [(1,)], ("ProgrammingError", 0)]
print()
print("The behaviour has changed." if changed else "As described: the second statement is dropped, and nothing says so.")
sys.exit(changed)
PY
