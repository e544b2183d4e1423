"""Local copies of what is in custody: whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(target: Path) -> Generator[BinaryIO]:
    """Write a local file (0600) that appears whole or not at all; an error leaves what was there before.

    For copies of what is in custody: nothing waits for the disk, so a power cut may lose the file. Raises `OSError`.
    """
    # A name that nobody can foresee: in a shared folder somebody might have put a link there.
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
            yield stream
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
