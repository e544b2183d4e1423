"""Standard streams that are closed, full or without a reader.

Owns what happens when a stream is closed (``>&-``), when the disk behind it is full, and when its reader has exited. Of
standard input and output it is reported like any other condition. Without standard error a command goes on.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress

from blocks.runtime.write_errors import write_error


def report_failing_streams() -> None:
    """Replace the output streams by `StandardOutput` and `StandardError`; open closed streams so that using one fails.

    Otherwise the next file to be opened, perhaps one of the storage, would get the stream's number, and the output.
    """
    for number, unusable in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):  # standard error just swallows text
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, unusable)
    # Each is None if it was closed when the interpreter started, whatever its type says.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - open as long as the process
    sys.__stderr__ = sys.__stderr__ or open(2, "w", closefd=False)  # noqa: SIM115
    former = sys.__stderr__
    # Of a file of its own: the former one may still know the descriptor as one of another kind.
    buffer = open(2, "wb", closefd=False)  # noqa: SIM115
    sys.stderr = StandardError(buffer, encoding=former.encoding, errors=former.errors, line_buffering=True)
    sys.__stdout__ = sys.__stdout__ or open(1, "w", closefd=False)  # noqa: SIM115
    former = sys.__stdout__  # kept: collecting it would close the buffer that both use
    sys.stdout = StandardOutput(
        former.buffer, encoding=former.encoding, errors=former.errors, line_buffering=former.isatty()
    )


class StandardOutput(io.TextIOWrapper):
    """Text for standard output. A reader that has exited is `BrokenPipeError`, which ends a command silently."""

    def write(self, text: str, /) -> int:
        """Raises `StorageFull`, `TargetUnwritable` and `BrokenPipeError`."""
        with standard_output_errors():
            return super().write(text)

    def flush(self) -> None:
        """Raises like `write`."""
        with standard_output_errors():
            super().flush()


class StandardError(io.TextIOWrapper):
    """Text for standard error. What cannot be written is dropped: a run must not end because its log has no reader.

    Prefect's console would end it: it takes a reader that has exited for the end of the program.
    """

    def write(self, text: str, /) -> int:
        """Never raises for what becomes of the text."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Never raises, like `write`."""
        with suppress(OSError):
            super().flush()


@contextmanager
def standard_output_errors() -> Generator[None]:
    """Translate errors of standard output to `StorageFull` and `TargetUnwritable`; `BrokenPipeError` passes."""
    try:
        yield
    except OSError as exc:
        # Python flushes once more at its exit; the same failure must not be reported twice.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(exc, BrokenPipeError):
            raise
        raise write_error("standard output", exc) from exc
