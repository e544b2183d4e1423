"""The process of one ADBC query: reads what is wanted as a line of JSON, writes a line and Arrow's IPC stream.

The line is `READY`, or the step that failed and the type of the error. An empty batch is the last: it says that these
are all rows, or the type of a later error. Arrow takes a stream that breaks off between two batches for a whole one.
Ends when its input does: then its caller has gone.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow and ADBC have no types for a checker.

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO, cast

READY = "ready"
FAILED, WHOLE = b"waybill.failed", b"waybill.whole"

# What has a database refuse to write, by the name that its driver gives it.
_READ_ONLY = {"SQLite": "pragma query_only = on"}
# What may follow a statement: blanks, semicolons, comments. Nothing of it is tried in two ways.
_NOTHING = re.compile(r"(?:[\s;]|--[^\n]*+|/\*(?>.*?(?:\*/|\Z)))*+", re.DOTALL)


def main() -> None:
    """Answer one query on the standard streams."""
    import orjson

    given, answer = sys.stdin.buffer, sys.stdout.buffer
    wanted = orjson.loads(given.readline())
    threading.Thread(target=_end_with, args=[given], daemon=True).start()
    step = "import"
    try:
        from adbc_driver_manager import dbapi

        step = "connect"
        connection = cast("Any", dbapi).connect(
            driver=_driver_path(wanted["driver"]), db_kwargs={"uri": wanted["uri"]}, autocommit=False
        )
        step = "query"
        cursor = connection.cursor()
        vendor = str(connection.adbc_get_info().get("vendor_name", ""))
        if wanted["read_only"]:
            _read_only(connection, cursor, vendor)
        if vendor == "SQLite" and _has_several(wanted["sql"]):
            step = "statements"
            raise ValueError
        cursor.execute(wanted["sql"])
        reader = cursor.fetch_record_batch()
    except Exception as exc:  # noqa: BLE001 - a driver is foreign code
        _say(answer, f"{step} {type(exc).__name__}")
    else:
        _say(answer, READY)
        _send(reader, answer)
    # The transaction ends with the process, undone. A driver may take its time to close, or crash.
    os._exit(0)


def _end_with(given: BinaryIO) -> None:
    given.read()
    os._exit(1)


def _say(answer: BinaryIO, line: str) -> None:
    answer.write(f"{line}\n".encode())
    answer.flush()


def _send(reader: Any, answer: BinaryIO) -> None:
    import pyarrow as pa
    from pyarrow import ipc

    with suppress(BrokenPipeError), ipc.new_stream(answer, reader.schema) as writer:
        outcome = {WHOLE: b""}
        try:
            for batch in reader:
                writer.write_batch(batch)
                answer.flush()
        except BrokenPipeError:
            raise
        except Exception as exc:  # noqa: BLE001 - a driver is foreign code
            outcome = {FAILED: type(exc).__name__.encode()}
        writer.write_batch(pa.RecordBatch.from_pylist([], schema=reader.schema), custom_metadata=outcome)
    with suppress(BrokenPipeError):
        answer.flush()


def _has_several(sql: str) -> bool:
    """Return whether something follows the first statement: the driver of SQLite leaves it out.

    findings/adbc_sqlite_first_statement_only.sh
    """
    ends = (place for place, character in enumerate(sql) if character == ";")
    end = next((place for place in ends if sqlite3.complete_statement(sql[: place + 1])), len(sql))
    return _NOTHING.fullmatch(sql, end) is None


def _read_only(connection: Any, cursor: Any, vendor: str) -> None:
    """Have the database refuse to write, where it is known how; elsewhere its account decides."""
    with suppress(Exception):  # few drivers have the option
        connection.adbc_connection.set_options(**{"adbc.connection.readonly": "true"})
    if vendor in _READ_ONLY:
        cursor.execute(_READ_ONLY[vendor])


def _driver_path(driver: str) -> str:
    """Return the library of a driver that is a Python module; else *driver*, which the driver manager looks for."""
    if not driver.isidentifier() or not driver.startswith("adbc_driver_") or importlib.util.find_spec(driver) is None:
        return driver
    path = getattr(import_module(driver), "_driver_path", None)
    return str(path()) if path is not None else driver


if __name__ == "__main__":
    main()
