"""Children of the process that runs the tests, by what their command line says."""

from __future__ import annotations

import psutil


def children_with(text: str) -> list[psutil.Process]:
    """Return all living descendants whose command line holds *text*. Those that other tests have left may just end."""
    return [child for child in psutil.Process().children(recursive=True) if text in _command_line(child)]


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # also a zombie
        return ""
