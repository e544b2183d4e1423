"""The id of a home, by which the homes of one Prefect server differ."""

from __future__ import annotations

import contextlib
import re
import secrets
from pathlib import Path

from blocks.errors import StackUnavailable
from blocks.runtime.atomic_file import write_atomically

HOME_ID_FILE = "home-id"
# Few enough digits for people to compare, and enough for the homes of one Prefect server to differ.
ID_CHARS = 8
_HOME_ID = re.compile(rf"[0-9a-f]{{{ID_CHARS}}}")


def home_id(home: Path) -> str:
    """Return the id of *home*, a random one that is made once. Raises `StackUnavailable`."""
    path = home / HOME_ID_FILE
    try:
        if not path.exists():
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Of several commands that start at the same time, one makes it.
            with contextlib.suppress(FileExistsError):
                write_atomically(path, secrets.token_hex(ID_CHARS // 2).encode(), replace=False)
        found = path.read_text(errors="replace").strip()
    except OSError as exc:
        raise StackUnavailable(f"cannot use {path}: {exc.strerror}; the id of the home belongs there") from exc
    if not _HOME_ID.fullmatch(found):
        raise StackUnavailable(f"{path} holds no id of a home; remove it to have another one made")
    return found
