"""Processes that `waybill up` keeps running, when its own process has no descriptor left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stack_driver import PATIENCE_SECONDS, plain_environment

_KEPT = """
import os, sys
os.write(int(sys.argv[sys.argv.index("--ready-fd") + 1]), b"1")
sys.stdin.read()
"""

_KEEPER = """
import os, resource, signal, sys, time
from pathlib import Path
from waybill.stack.kept_process import KeptProcess, Program, recorded_process
from waybill.stack.processes import is_running

said = []
home = Path(sys.argv[1])
kept = KeptProcess(home, Program(name="kept", called="the kept process", module="kept_program"), said.append)
kept.launch()
kept.wait_until_ready()
first = recorded_process(home, "kept")
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)


def with_descriptors(count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, most))


with_descriptors(3)
kept.keep_running()
with_descriptors(256)
assert said == [] and recorded_process(home, "kept") == first and is_running(first), said

os.kill(first.pid, signal.SIGKILL)
while is_running(first):
    time.sleep(0.01)
kept.keep_running()
kept._not_before = 0.0
with_descriptors(3)
kept.keep_running()
with_descriptors(256)
assert "cannot be started" in said[-1], said
kept._not_before = 0.0
kept.keep_running()
assert said[-1] == "the kept process is back", said
assert is_running(recorded_process(home, "kept"))
kept.stop()
"""


def test_without_descriptors_it_is_neither_taken_for_ended_nor_given_up(tmp_path: Path) -> None:
    (tmp_path / "kept_program.py").write_text(_KEPT)
    environment = {**plain_environment(), "PYTHONPATH": f"{Path.cwd()}:{tmp_path}"}
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", _KEEPER, home],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
