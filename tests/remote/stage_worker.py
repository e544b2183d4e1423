"""A remote worker's process for one assignment, as the flow run-stage runs it, without Prefect.

Usage: python -m tests.remote.stage_worker WORKER_HOME ASSIGNMENT_ID < token
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from blocks.errors import WaybillError
from blocks.hand_over.worker_home import WorkerHome
from blocks.settings import current_settings
from tasks.remote.work import WorkProgress, work


def say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    home, assignment_id = Path(sys.argv[1]), sys.argv[2]
    progress = WorkProgress()
    try:
        done = asyncio.run(
            work(
                WorkerHome(home),
                current_settings(),
                assignment_id,
                token=sys.stdin.read().strip(),
                remote_run_id=None,
                progress=progress,
                say=say,
            )
        )
    except WaybillError as error:
        sys.exit(f"{type(error).__name__}: {error.message}")
    print(f"reported {done}, {progress.total_bytes_moved} bytes")


if __name__ == "__main__":
    main()
