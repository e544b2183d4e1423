"""A child's side of the protocol with `waybill up`: report when it is ready, end on a signal or without a parent."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable

from blocks.errors import WaybillError
from waybill.process.signals import noting_signals

# Written to the ready pipe.
READY = b"ready\n"


def child_arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser for the arguments of every kept process."""
    parser = argparse.ArgumentParser(description=description)
    # Not read: it shows which home the process belongs to.
    parser.add_argument("--home", required=True)
    parser.add_argument("--ready-fd", type=int, required=True, help="pipe to write to once the work is done")
    return parser


def run_child(work: Callable[[threading.Event], None]) -> int:
    """Run *work* until it returns; return the exit code. The event is set by a signal, and when the parent is gone."""
    with noting_signals() as shutdown_requested:
        end_with_parent()
        try:
            work(shutdown_requested)
        except WaybillError as error:
            print(f"waybill: {error.message}", file=sys.stderr)
            return 1
    return 0


def say_ready(pipe: int) -> None:
    """Report to the parent that this process is ready."""
    os.write(pipe, READY)
    os.close(pipe)


def end_with_parent() -> None:
    """Get SIGTERM when stdin ends, which comes when the parent closes it or dies, even by SIGKILL."""
    threading.Thread(target=_wait_for_end_of_stdin, name="end-with-parent", daemon=True).start()


def _wait_for_end_of_stdin() -> None:
    # Not through sys.stdin, whose lock a waiting thread would keep from the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
