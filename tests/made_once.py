"""Folders for tests that take long to fill: made on first use and kept from run to run."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

# In the folder that git ignores and that outlives a test run.
_HOME = Path(__file__).parents[1] / ".venv"


def made_once(name: str, pinned: bytes, make: Callable[[Path], None]) -> Path:
    """The folder *name* for what is *pinned*; *make* fills it, or makes it, where it is not ready.

    Safe to call from several processes at once: one of them makes it.
    """
    folder = _HOME / f"{name}-{hashlib.sha256(pinned).hexdigest()[:12]}"
    ready = folder / ".ready"
    if ready.exists():
        return folder
    _HOME.mkdir(exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted attempt left
            make(folder)
            ready.touch()
    return folder
