"""The hostile stage in the worker processes of this process, whichever test has started one before."""

from __future__ import annotations

import os
from multiprocessing import forkserver
from pathlib import Path

import pytest

_ADDED = {"WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE", "PYTHONPATH": str(Path.cwd())}


def add_hostile_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the stage in the environment, for the rest of the test, and have it reach worker processes.

    They have the environment that their forkserver was started with, and there is one for all tests of a process: one
    without the stage is ended. The next worker process starts another.
    """
    for name, value in _ADDED.items():
        monkeypatch.setenv(name, value)
    server = forkserver._forkserver
    if server._forkserver_pid is not None and not _has_stage(server._forkserver_pid):
        server._stop()


def _has_stage(pid: int) -> bool:
    try:
        given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return True  # it was killed: the one that takes its place will have it
    return all(os.fsencode(f"{name}={value}") in given for name, value in _ADDED.items())
