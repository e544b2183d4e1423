"""The report of a run, handed over to a command of the same home that waits for it.

The command makes a file in the home and holds its lock; the run writes its report there when it ends. What no command
waits for is not written: a report holds names of documents, and everything in it is in Prefect and the catalogue. The
kernel releases the lock when the command dies, also by SIGKILL, and the next run removes the file.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, cast
from uuid import uuid4

from blocks import errors
from blocks.errors import StackUnavailable, WaybillError
from blocks.runtime.file_lock import lock_file, try_lock
from blocks.runtime.write_errors import is_disk_full, write_error

_FOLDER = "expected"
# The run's idempotency key, by which it finds the file. Any client of Prefect's API may give a run another one.
_KEY = re.compile(r"waybill-process-[0-9a-f]{32}")

_LOG = logging.getLogger("waybill.runs")


class ExpectedReport:
    """The file of one run; *key* is to be the run's idempotency key."""

    def __init__(self, path: Path) -> None:
        self.key = path.name
        self._path = path

    @classmethod
    @contextmanager
    def open(cls, home: Path) -> Generator[Self]:
        """Wait for one report for the length of the block. Raises `StackUnavailable`, `StorageFull`."""
        path = home / _FOLDER / f"waybill-process-{uuid4().hex}"
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = lock_file(path)
        except OSError as exc:
            raise (
                write_error(path, exc)
                if is_disk_full(exc)
                else StackUnavailable(
                    f"cannot use {path}: {exc.strerror}; WAYBILL_HOME must name a directory that this user can write to"
                )
            ) from exc
        try:
            yield cls(path)
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def read(self) -> dict[str, Any] | None:
        """Return the report of the run, None as long as it has none. Raises the error that the run ended with."""
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        if error := found.get("error"):
            kind = getattr(errors, str(error["type"]), None)
            known = isinstance(kind, type) and issubclass(kind, WaybillError)
            raise (cast("type[WaybillError]", kind) if known else WaybillError)(str(error["message"]))
        return found["report"]


def deliver_report(home: Path, key: str | None, report: Mapping[str, Any]) -> None:
    """Give the command that waits for the run with this idempotency *key* its *report*; never fails the run."""
    _deliver(home, key, {"report": report})


def deliver_error(home: Path, key: str | None, error: WaybillError) -> None:
    """Give that command the *error* that ends the run without a report; never raises."""
    _deliver(home, key, {"error": {"type": type(error).__name__, "message": error.message}})


def remove_unexpected(home: Path) -> None:
    """Remove the files of commands that were killed."""
    for path in (home / _FOLDER).glob("waybill-process-*"):
        with suppress(OSError):
            _remove_unless_expected(path)


def _deliver(home: Path, key: str | None, content: Mapping[str, Any]) -> None:
    if key is None or not _KEY.fullmatch(key):
        return
    path = home / _FOLDER / key
    try:
        if _remove_unless_expected(path):
            return
        # Without O_CREAT: a command that ends in this moment takes the file with it.
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC), "wb") as stream:
            stream.write(json.dumps(content).encode())
    except FileNotFoundError:
        return  # nothing waits
    except OSError as error:
        _LOG.warning("the command that waits gets no report because=%s", error.strerror)


def _remove_unless_expected(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not try_lock(descriptor):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
