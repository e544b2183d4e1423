"""Say what is wrong when a local file cannot be written: a full disk by that name, wherever it is met."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import StorageFull, TargetUnwritable

# The disk, a quota, or the limit on the size of files (ulimit -f).
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether *error* is, or was caused by, a lack of room for a file."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def write_error(name: Path | str, error: OSError) -> StorageFull | TargetUnwritable:
    """Return the error to raise when *name* cannot be written."""
    if is_disk_full(error):
        return StorageFull(f"cannot write {name}: {error.strerror}; free some space and start again")
    return TargetUnwritable(f"cannot write {name}: {error.strerror or type(error).__name__}")


@contextmanager
def write_errors(name: Path | str) -> Generator[None]:
    """Raise `StorageFull` or `TargetUnwritable` for an `OSError` of the block; *name* is what the block writes."""
    try:
        yield
    except OSError as exc:
        raise write_error(name, exc) from exc
