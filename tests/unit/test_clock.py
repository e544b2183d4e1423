"""How long a process has been running."""

from __future__ import annotations

import subprocess
import sys
import time


def test_a_process_runs_no_longer_than_it_has_been_waited_for() -> None:
    program = "from blocks.runtime.clock import seconds_since_start as s; print(s())"
    for _ in range(3):
        started = time.monotonic()
        seconds = float(subprocess.check_output([sys.executable, "-c", program]))
        # The kernel counts in hundredths.
        assert 0.0 < seconds <= time.monotonic() - started + 0.02
