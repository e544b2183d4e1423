"""Rows of a query through an ADBC driver, in a process of its own.

A driver is foreign code, and not every one can be interrupted (that of SQLite cannot): a process can always be ended,
and takes only itself along when the driver crashes. It sends Arrow's IPC stream; `tasks.export.adbc_process` is its
other end.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any, cast

import orjson
import pyarrow as pa
from pyarrow import ipc

from blocks.errors import ExportRefused, InvalidOptions
from tasks.export.adbc_process import FAILED, READY, WHOLE
from tasks.export.ending import Ending, Watch
from tasks.export.source import ArrowSource, RecordSource, query_refused

_COMMAND = (sys.executable, "-m", "tasks.export.adbc_process")


def open_adbc(database: str, sql: str, ending: Ending, *, read_only: bool) -> RecordSource:
    """Return the rows of *sql* on *database*, ``DRIVER:URI``. Raises `ExportRefused` and `InvalidOptions`."""
    driver, separator, uri = database.partition(":")
    if not driver or not separator:
        raise InvalidOptions("an ADBC database is adbc:DRIVER:URI, such as adbc:adbc_driver_sqlite:file:a.db?mode=ro")
    process = subprocess.Popen(_COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    watch = Watch(ending, process.kill)

    def close() -> None:
        watch.stop()
        process.kill()
        with suppress(BrokenPipeError), process:  # closes its pipes and waits for its end
            pass

    try:
        wanted = {"driver": driver, "uri": uri, "sql": sql, "read_only": read_only}
        reader = _opened(process, orjson.dumps(wanted), driver, ending)
    except BaseException:
        close()
        raise
    return ArrowSource(reader.schema, lambda: _batches(reader, ending), close)


def _opened(process: subprocess.Popen[bytes], wanted: bytes, driver: str, ending: Ending) -> Any:
    """Send what is *wanted* and return the reader of the rows."""
    given, answer = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    try:
        # It stays open: by its end the process notices that its caller has gone. The URI may hold a password, which the
        # arguments of a process would show to everyone.
        given.write(wanted + b"\n")
        given.flush()
    except BrokenPipeError:
        raise ending.reason or _ended() from None
    said = answer.readline().decode().strip()
    if said == READY:
        try:
            return ipc.open_stream(answer)
        except (pa.ArrowException, OSError):
            raise ending.reason or _ended() from None
    step, _, kind = said.partition(" ")
    if step == "import":
        raise InvalidOptions("ADBC needs the package adbc-driver-manager, which is not installed")
    if step == "connect":
        raise InvalidOptions(f"the ADBC driver {driver[:80]} opens no database there ({kind})")
    if step == "statements":
        raise ExportRefused("the query has more than one statement: write one, or make an export of each")
    raise ending.reason or (query_refused(kind) if kind else _ended())


def _batches(reader: Any, ending: Ending) -> Iterator[Any]:
    while True:
        try:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
        except (StopIteration, pa.ArrowException, OSError):
            raise ending.reason or _ended() from None
        if metadata is not None and WHOLE in metadata:
            return
        if metadata is not None and FAILED in metadata:
            raise ending.reason or query_refused(metadata[FAILED].decode())
        yield batch


def _ended() -> ExportRefused:
    return ExportRefused("the process of the ADBC driver ended in the middle of the query: the driver crashed")
