"""Programs that a backup calls end with it, also with a killed one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stack_driver import PATIENCE_SECONDS, eventually
from waybill.stack.backup.programs import run_watched
from waybill.stack.processes import find

# As pg_basebackup does: a fork that would go on alone.
_FORKS = "sleep {seconds} & echo $! > {ready}; wait"


def test_the_output_and_the_exit_code_are_those_of_the_program() -> None:
    done = run_watched(["/bin/sh", "-c", 'echo "out $1"; echo err >&2; cat; exit 7', "sh", "a 'b'"])
    assert (done.returncode, done.stdout, done.stderr) == (7, "out a 'b'\n", "err\n")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_program_and_its_forks_end_with_the_process_that_runs_them(tmp_path: Path, number: signal.Signals) -> None:
    # Seconds that no other sleep of this machine has.
    ready, seconds = tmp_path / "ready", f"{100_000 + time.monotonic_ns() % 100_000}.{number}"
    script = "import sys; from waybill.stack.backup.programs import run_watched; run_watched(sys.argv[1:])"
    shell = _FORKS.format(seconds=seconds, ready=ready)
    with subprocess.Popen([sys.executable, "-c", script, "/bin/sh", "-c", shell], stderr=subprocess.DEVNULL) as caller:
        try:
            eventually(ready.exists, "the program runs")
            assert len(find(f"sleep {seconds}")) >= 2
        finally:
            caller.send_signal(number)
            caller.wait(PATIENCE_SECONDS)
    eventually(lambda: not find(f"sleep {seconds}"), "program and fork have ended")
