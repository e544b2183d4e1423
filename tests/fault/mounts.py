"""File systems that a test mounts: only for a process that may."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def can_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN, which is number 21: root has it, except in most containers."""
    effective = re.search(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    return effective is not None and bool(int(effective[1], 16) >> 21 & 1)


@contextmanager
def read_only(folder: Path) -> Generator[None]:
    """Make *folder* a read-only file system for the length of the block, as the kernel does after a disk failed."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
