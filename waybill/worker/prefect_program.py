"""The process of Prefect's worker; run as ``python -m waybill.worker.prefect_program`` with Prefect's own arguments.

Owns what Prefect's command lacks: it ends when the process that started it is gone, with the flow runs it has started,
and it can be interrupted however it was started. See `waybill.worker.prefect_worker`.
"""

from __future__ import annotations

import importlib
import os
import runpy
import signal
import sys
import threading

from waybill.worker.worker_processes import START_VARIABLE, end_flow_runs, kill_all


def _end_with_parent(start: str) -> None:
    # Not through sys.stdin, whose lock a waiting thread would keep from the interpreter's shutdown.
    while os.read(0, 1):
        pass
    end_flow_runs(start, os.getpid())
    kill_all(start, except_pid=os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run Prefect's command line."""
    # Prefect ends its worker by SIGINT, which a job in the background of a script has inherited as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, args=(os.environ[START_VARIABLE],), daemon=True).start()
    importlib.import_module("prefect")  # it reads its settings now, and sets up what this process logs
    # For the flow runs, whose output is a pipe to this process: after its death the first line that Prefect logs there
    # ends the process (rich raises SystemExit for a broken pipe), before it has reported that the run crashed.
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    sys.argv[0] = "prefect"
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
