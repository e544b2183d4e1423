"""Files of age keys that people name, and how much work of a passphrase a command does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from blocks.errors import InvalidKey, SourceNotFound

KeyT = TypeVar("KeyT")

# What the age command accepts: at most 4 GiB of memory and a quarter of a minute, and the user can interrupt it.
MAX_LOG_N = 22
# Twice what the largest number of recipients takes with the longest keys. A wrong file, perhaps a disk image, is
# reported without reading all of it.
_KEY_FILE_BYTES = 2 << 20


def read_keys(path: Path, parse: Callable[[str], list[KeyT]]) -> list[KeyT]:
    """Return the keys in the file at *path*. Raises `SourceNotFound` and `InvalidKey`, which name the file."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_KEY_FILE_BYTES + 1)
    except OSError as exc:
        raise SourceNotFound(f"cannot read {path}: {exc.strerror}") from exc
    if len(content) > _KEY_FILE_BYTES:
        raise InvalidKey(f"{path} is too large for a file of keys")
    try:
        return parse(content.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise InvalidKey(f"{path} is not a file of keys: it is not text") from exc
    except InvalidKey as exc:
        raise InvalidKey(f"{path}: {exc.message}") from exc
