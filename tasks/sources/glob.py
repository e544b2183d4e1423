"""Globs over local files that always terminate, whatever links the folders hold.

The patterns are those of `glob` with ``**``: hidden names match only a pattern that begins with a dot. Links to folders
are not followed where a wildcard matches them, unlike in `glob`: a loop of links would list each file many times.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def is_glob(text: str) -> bool:
    """Return whether *text* has a wildcard."""
    return glob.has_magic(text)


def is_folder(path: Path) -> bool:
    """Return whether *path* is a folder or leads to one. `Path.is_dir` raises for what may not be looked at."""
    return os.path.isdir(path)  # noqa: PTH112


def matching(pattern: Path) -> list[Path]:
    """Return the paths that match *pattern*, in name order; none when its folder is missing or cannot be read."""
    parts = pattern.parts
    plain = next(number for number, part in enumerate(parts) if is_glob(part))
    return sorted(set(_below(Path(*parts[:plain]), parts[plain:])))


def _below(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _at_any_depth(folder, rest)
    elif is_glob(first):
        for path in _shown(folder, first):
            if not rest:
                yield path
            elif is_folder(path):
                yield from _below(path, rest)
    elif rest:
        yield from _below(folder / first, rest)
    elif os.path.lexists(folder / first):
        yield folder / first


def _at_any_depth(folder: Path, rest: Sequence[str]) -> Iterator[Path]:
    if not rest:
        if is_folder(folder):
            yield folder
    elif rest[0] == "**":  # "**/**" is "**"
        yield from _below(folder, rest)
    else:
        for parent, folders, _ in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from _below(Path(parent), rest)


def _shown(folder: Path, pattern: str) -> Iterator[Path]:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return
    for name in fnmatch.filter(names, pattern):
        path = folder / name
        hidden = name.startswith(".") and not pattern.startswith(".")
        if not hidden and not (path.is_symlink() and is_folder(path)):
            yield path
