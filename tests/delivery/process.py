"""A dispatcher as a process of its own, which tests can stop, continue and kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Literal

from tests.stack_driver import PATIENCE_SECONDS

Point = Literal["before the send", "between answer and record"]


class DispatcherProcess:
    """One running dispatcher; use it in a ``with`` block, which kills what a failed test leaves."""

    def __init__(self, database_url: str, home: Path, *, die: Point | None = None, **limits: float) -> None:
        options = json.dumps({"die": die, "limits": {"poll_seconds": 0.1, **limits}})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.delivery.program", database_url, str(home), options],
            stdout=subprocess.PIPE,
            # As in a terminal of its own: a test's signals go to this process only.
            start_new_session=True,
        )

    def __enter__(self) -> DispatcherProcess:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_until_ready(self) -> DispatcherProcess:
        """Wait until it sends."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", f"exit code {self.process.poll()}"
        return self

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()
