"""The keys that sign links: a file of its owner alone, made on first need, rotated without a stop.

Owns the file (`WAYBILL_LINK_KEYS_FILE`, by default ``WAYBILL_HOME/link-keys``): JSON, mode 0600, replaced whole or not
at all. The last key in it signs. Earlier ones go on verifying until everything that they may have signed has expired,
and are then dropped. A running gateway reads the file again when it has changed, so a rotation or a revocation counts
at once. Refuses a file that others may read: whoever reads it can sign a link to any file.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from blocks.errors import InvalidOptions, InvalidSettings, StorageFull, WaybillError
from blocks.links.tokens import MAX_LEEWAY, MAX_LIFETIME, SigningKey
from blocks.runtime.clock import Clock, utc_now

# The output of SHA-256, which RFC 7518 section 3.2 asks for at least; more adds nothing (RFC 2104 section 3).
SECRET_BYTES = 32
# Somebody who rotates daily has 31. Far more means that something rotates in a loop, and each key is read again by
# every process.
MAX_KEYS = 100
# A hundred keys have 14 kB.
_MAX_FILE_BYTES = 64 * 1024
_FORMAT = "waybill.link-keys/1"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """What a rotation has changed: the ids of the key that signs now, and of those that still and no longer verify."""

    key_id: str
    created_at: datetime
    verifying: tuple[str, ...]
    dropped: tuple[str, ...]


class LinkKeys:
    """The signing keys in the file *path*. Cheap to ask: the file is read again only when it has changed."""

    def __init__(self, path: Path, *, clock: Clock = utc_now) -> None:
        self._path = path
        self._clock = clock
        self._read: tuple[tuple[int, ...], tuple[SigningKey, ...]] | None = None

    def signing_key(self) -> SigningKey:
        """The key to sign with; the file is made if there is none. Raises `InvalidSettings`, `StorageFull`."""
        return self._keys()[-1]

    def verifying_keys(self) -> Mapping[str, SigningKey]:
        """Every key whose tokens count, by id. Raises like `signing_key`."""
        return {key.id: key for key in _alive(self._keys(), self._clock())}

    def rotate(self, *, revoke: bool = False) -> Rotation:
        """Sign with a new key from now on; with *revoke* nothing that was signed before counts any more.

        Raises like `signing_key`, and `InvalidOptions` after `MAX_KEYS` rotations within the life of a token.
        """
        with self._locked():
            before = self._load() or ()
            kept = () if revoke else _alive(before, self._clock())
            if len(kept) >= MAX_KEYS:
                raise InvalidOptions(
                    f"{self._path} holds {MAX_KEYS} keys, and what they have signed may still be in use; rotate less "
                    "often, or drop them and end all links that were given out: waybill keys rotate-links --revoke"
                )
            new = self._new_key()
            self._write([*kept, new])
        verifying = [key.id for key in kept]
        return Rotation(
            key_id=new.id,
            created_at=new.created_at,
            verifying=tuple(verifying),
            dropped=tuple(key.id for key in before if key.id not in verifying),
        )

    def _keys(self) -> tuple[SigningKey, ...]:
        found = self._load()
        if found is not None:
            return found
        with self._locked():
            # Another process may have been quicker.
            found = self._load()
            if found is None:
                found = (self._new_key(),)
                self._write(found)
        return found

    def _new_key(self) -> SigningKey:
        return SigningKey(id=secrets.token_hex(8), secret=secrets.token_bytes(SECRET_BYTES), created_at=self._clock())

    def _load(self) -> tuple[SigningKey, ...] | None:
        """The keys in the file; None when there is none."""
        try:
            found = self._path.stat()
            # A change of the mode changes the ctime: rights that were opened up later are noticed too.
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if self._read is None or self._read[0] != version:
                self._read = (version, _parse(self._path, _read_private(self._path)))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _unusable(self._path, exc.strerror or type(exc).__name__) from exc
        return self._read[1]

    def _write(self, keys: Sequence[SigningKey]) -> None:
        # Where the path is a link, the file behind it is replaced: it may be shared with other machines.
        target = self._path.resolve()
        draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}.new")
        with _translated(self._path):
            try:
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_render(keys))
                    file.flush()
                    os.fsync(descriptor)
                draft.replace(target)
                folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            finally:
                draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Be the only one that changes the file; the kernel gives the lock back when a process dies."""
        target = self._path.resolve()
        lock = target.with_name(f"{target.name}.lock")
        with contextlib.ExitStack() as until_done:
            with _translated(self._path):
                lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                until_done.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield


def _alive(keys: Sequence[SigningKey], now: datetime) -> tuple[SigningKey, ...]:
    """Keys whose tokens may still count: each has signed until its successor was made."""
    longest = MAX_LIFETIME + MAX_LEEWAY
    earlier = (key for key, successor in pairwise(keys) if now < successor.created_at + longest)
    return (*earlier, *keys[-1:])


# The file -------------------------------------------------------------------------------------------------------------


def _read_private(path: Path) -> bytes:
    """The bytes of a regular file that nobody but its owner may read."""
    # O_NONBLOCK: a FIFO in its place must not hang the reader.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(path, "it is not a regular file")
        if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InvalidSettings(
                f"{path} signs links, and others than its owner have rights to it (mode "
                f"{stat.S_IMODE(status.st_mode):04o}, expected 0600); run: chmod 600 {path}; "
                "and if somebody may have read it: waybill keys rotate-links --revoke"
            )
        return file.read(_MAX_FILE_BYTES + 1)


def _render(keys: Sequence[SigningKey]) -> bytes:
    rows = [
        {
            "id": key.id,
            "secret": base64.urlsafe_b64encode(key.secret).decode(),
            "created_at": key.created_at.isoformat(),
        }
        for key in keys
    ]
    return json.dumps({"format": _FORMAT, "keys": rows}, indent=2).encode() + b"\n"


def _parse(path: Path, content: bytes) -> tuple[SigningKey, ...]:
    """Raises `InvalidSettings` for anything that `_render` would not have written; never tells the content."""
    try:
        if len(content) > _MAX_FILE_BYTES:
            raise ValueError("too long")
        found = cast("dict[str, Any]", json.loads(content))
        keys = tuple(_parse_key(row) for row in found["keys"])
        ids = {key.id for key in keys}
        if found["format"] != _FORMAT or not keys or len(ids) < len(keys):
            raise ValueError("no keys, or twice the same")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Without the cause: its message could quote a secret.
        raise _unusable(
            path, "its content is not what Waybill writes; restore it, or remove it: then new keys are made and links "
            "that were given out are dead"
        ) from None  # fmt: skip
    return keys


def _parse_key(row: Mapping[str, Any]) -> SigningKey:
    secret = base64.b64decode(row["secret"].encode(), altchars=b"-_", validate=True)
    created_at = datetime.fromisoformat(row["created_at"])
    if not _ID.fullmatch(row["id"]) or not SECRET_BYTES <= len(secret) <= 64 or created_at.tzinfo is None:
        raise ValueError("not a key")
    return SigningKey(id=row["id"], secret=secret, created_at=created_at)


@contextmanager
def _translated(path: Path) -> Generator[None]:
    try:
        yield
    except WaybillError:
        raise
    except OSError as exc:
        if exc.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise StorageFull(f"cannot write {path}: {exc.strerror}; free some space and start again") from exc
        raise _unusable(path, exc.strerror or type(exc).__name__) from exc


def _unusable(path: Path, why: str) -> InvalidSettings:
    return InvalidSettings(f"cannot use the link keys in {path}: {why}; WAYBILL_LINK_KEYS_FILE names another file")
