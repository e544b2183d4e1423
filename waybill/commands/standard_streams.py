"""Standard input and output that may be missing, full or gone: told like any other condition, never a traceback.

Owns what happens when they are closed (``>&-``), when the disk behind them is full, and when who reads them has left.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from blocks.errors import StorageFull, TargetUnwritable

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def tell_of_failing_streams() -> None:
    """Put `StandardOutput` in the place of standard output. What is closed is opened, so that it fails when it is used.

    Otherwise the next file that is opened, one of the storage's perhaps, would get its number, and what is printed.
    """
    for number, unusable in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):  # nobody misses standard error
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, unusable)
    # None where they were closed when the interpreter started, whatever the types say.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    sys.__stdout__ = sys.__stdout__ or open(1, "w", closefd=False)  # noqa: SIM115
    former = sys.__stdout__  # stays: it would close the buffer that both have
    sys.stdout = StandardOutput(
        former.buffer, encoding=former.encoding, errors=former.errors, line_buffering=former.isatty()
    )


class StandardOutput(io.TextIOWrapper):
    """Text for standard output. A reader who has left is `BrokenPipeError`, which ends a command without a word."""

    def write(self, text: str, /) -> int:
        """Raises `StorageFull`, `TargetUnwritable` and `BrokenPipeError`."""
        with standard_output_errors():
            return super().write(text)

    def flush(self) -> None:
        """Raises like `write`."""
        with standard_output_errors():
            super().flush()


@contextmanager
def standard_output_errors() -> Generator[None]:
    """Tell why standard output cannot be written. Raises `StorageFull`, `TargetUnwritable`, `BrokenPipeError`."""
    try:
        yield
    except OSError as exc:
        # Python flushes once more when it ends; what could not be written must not be told twice.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            raise
        raise write_error("standard output", exc) from exc


def write_error(name: str, error: OSError) -> StorageFull | TargetUnwritable:
    """What *error* is for whoever wanted *name* to be written."""
    if error.errno in _NO_ROOM:
        return StorageFull(f"cannot write {name}: {error.strerror}; free some space and start again")
    return TargetUnwritable(f"cannot write {name}: {error.strerror}")
