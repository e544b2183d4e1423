"""Hostile file names, and a folder of things that are no documents: loops, pipes, sockets, what may not be read."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Each is a name that Linux allows. The text of each file is its own, so that none is taken for another.
HOSTILE_NAMES: tuple[str, ...] = (
    "über-die-brücke.md",
    "u\u0308ber-die-bru\u0308cke-zerlegt.md",
    "灯台の記録.md",
    "🚢⚓️ log.md",
    "two\nlines.md",
    "tab\tand\rreturn.md",
    "-rf.md",
    "--help",
    "$(touch pwned).md",
    "; touch pwned;.md",
    "%2e%2e%2fetc%2fpasswd.md",
    "..md",
    "...",
    " leading and trailing .md ",
    "CON.md",
    "quote\"s and 's.md",
    "back\\slash.md",
    "star*and?.md",
    "[range].md",
    "{brace,set}.md",
    "turned \u202edm.exe",
    "invisible\u200b\ufeff.md",
    "\x1b[31mred.md",
    "a" * 197 + ".md",
    "ä" * 125 + ".md",
    # Not UTF-8: Python carries the byte as a lone surrogate, which no encoder, database or terminal accepts.
    os.fsdecode(b"latin-\xe9t\xe9.md"),
)


def write_hostile_names(folder: Path) -> list[Path]:
    """Write one small, distinct document under each hostile name into *folder* (made if missing)."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for number, name in enumerate(HOSTILE_NAMES, start=1):
        path = folder / name
        path.write_text(f"# Log {number}\n\nOn day {number} the light was lit at dusk.\n", encoding="utf-8")
        paths.append(path)
    return paths


@dataclass(frozen=True, kw_only=True)
class HostileFolder:
    """A folder and what is in it.

    `documents` are ordinary files with distinct content, each to be found exactly once. `unreadable` may not be opened
    (by root it may). `others` are no documents and must neither be taken for one nor stop the walk.
    """

    folder: Path
    documents: tuple[Path, ...]
    unreadable: Path
    others: tuple[Path, ...]


@contextmanager
def hostile_folder(folder: Path) -> Iterator[HostileFolder]:
    """Fill *folder* (made if missing); afterwards permissions are given back, so that it can be removed."""
    deep = folder / Path(*(["deeper"] * 60))
    hidden, empty = folder / ".hidden", folder / "empty"
    for made in (deep, hidden, empty):
        made.mkdir(parents=True)
    documents = tuple(
        _write(path, f"# Note {number}\n\nThe buoy {number} was moved.\n")
        for number, path in enumerate((folder / "plain.md", deep / "deep.md", folder / "UPPER.MD"), start=1)
    )
    unreadable = _write(folder / "unreadable.md", "# Closed\n\nNobody may read this.\n")
    unreadable.chmod(0)
    closed = folder / "closed"
    closed.mkdir()
    _write(closed / "inside.md", "# Closed\n\nNobody may enter here.\n")
    closed.chmod(0)
    with socket.socket(socket.AF_UNIX) as server:
        others = _others(folder, server)
        try:
            yield HostileFolder(
                folder=folder, documents=documents, unreadable=unreadable, others=(*others, hidden, empty, closed)
            )
        finally:
            unreadable.chmod(0o600)
            closed.chmod(0o700)


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def _others(folder: Path, server: socket.socket) -> tuple[Path, ...]:
    loop_a, loop_b = folder / "loop-a", folder / "loop-b"
    loop_a.symlink_to(loop_b)
    loop_b.symlink_to(loop_a)
    upwards, dangling, pipe = folder / "upwards", folder / "dangling.md", folder / "pipe.md"
    upwards.symlink_to(folder, target_is_directory=True)
    dangling.symlink_to(folder / "nowhere.md")
    os.mkfifo(pipe)
    # A socket's path may have 107 bytes at most; a name relative to the working folder would be no safer.
    address = folder / "socket.md"
    if len(os.fsencode(address)) <= 107:
        server.bind(str(address))
        return (loop_a, loop_b, upwards, dangling, pipe, address)
    return (loop_a, loop_b, upwards, dangling, pipe)
