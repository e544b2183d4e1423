"""Paths as people type them on the command line: what they mean, and whether a file may be written there."""

from __future__ import annotations

import os
from pathlib import Path

from blocks.errors import InvalidOptions


def typed_path(text: str) -> Path:
    """The path that *text* means; ``~`` and ``~NAME`` are home folders. Raises `InvalidOptions`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:  # no such account, or one without a home
        raise InvalidOptions(f"{text}: there is no such home folder; for a name that begins with ~ write ./~") from exc


def replaceable(path: Path, *, force: bool) -> Path:
    """*path*, if a file may be written there. Raises `InvalidOptions`.

    Only files are replaced, by force too: a new file in the place of a device would be the end of it for everybody.
    """
    if not os.path.lexists(path):  # also where it cannot be looked at; writing will tell
        return path
    if not path.is_file():
        raise InvalidOptions(f"{path} is not a regular file; name another with -o")
    if not force:
        raise InvalidOptions(f"{path} is there already; give another name with -o, or --force to overwrite it")
    return path
