"""The hostile stage in the worker processes of this process, whichever test has started one before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path

import pytest

_HOSTILE = "tests.stages.hostile:HOSTILE"


def add_hostile_stage(monkeypatch: pytest.MonkeyPatch, *others: str) -> None:
    """Name the stage, and *others*, in the environment, for the rest of the test, and have worker processes know it.

    They have the environment that their forkserver was started with, and there is one for all tests of a process: one
    without the stage is ended. The next worker process starts another.
    """
    added = {"WAYBILL_EXTRA_STAGES": ",".join((_HOSTILE, *others)), "PYTHONPATH": str(Path.cwd())}
    for name, value in added.items():
        monkeypatch.setenv(name, value)
    server = forkserver._forkserver
    if server._forkserver_pid is not None and not _has_stages(server._forkserver_pid, added):
        server._stop()


def _has_stages(pid: int, added: Mapping[str, str]) -> bool:
    try:
        given = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return True  # it was killed: the one that takes its place will have it
    return all(os.fsencode(f"{name}={value}") in given for name, value in added.items())
