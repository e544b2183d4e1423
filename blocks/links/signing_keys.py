"""Link signing keys: a file for its owner alone, created on first need, rotated without downtime.

Owns the file (`WAYBILL_LINK_KEYS_FILE`, by default ``WAYBILL_HOME/link-keys``): JSON, mode 0600. The last key in it
signs; earlier ones verify until every link they may have signed has expired. A running gateway reads a changed file
again, so a rotation takes effect immediately. Refuses a file that other accounts may read: they could sign links.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from blocks.errors import InvalidOptions, InvalidSettings
from blocks.links.tokens import MAX_LEEWAY, MAX_LIFETIME, SigningKey
from blocks.runtime.atomic_file import write_atomically
from blocks.runtime.clock import Clock, utc_now
from blocks.runtime.file_lock import file_lock
from blocks.runtime.private_file import read_private
from blocks.runtime.write_errors import is_disk_full, write_error

# The output of SHA-256, which RFC 7518 section 3.2 asks for at least; more adds nothing (RFC 2104 section 3).
SECRET_BYTES = 32
# Daily rotation makes 31. Far more means that a program rotates in a loop, and every process reads every key.
MAX_KEYS = 100
# A hundred keys have 14 kB.
_MAX_FILE_BYTES = 64 * 1024
_FORMAT = "waybill.link-keys/1"
log = logging.getLogger("waybill.links")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """The result of a rotation: ids of the key that signs now, and of those that still and no longer verify."""

    key_id: str
    created_at: datetime
    verifying: tuple[str, ...]
    dropped: tuple[str, ...]


class LinkKeys:
    """The signing keys in the file *path*, which is read again only when it has changed."""

    def __init__(self, path: Path, *, clock: Clock = utc_now) -> None:
        self._path = path
        self._clock = clock
        self._read: tuple[tuple[int, ...], tuple[SigningKey, ...]] | None = None

    def signing_key(self) -> SigningKey:
        """Return the key to sign with; create the file if there is none. Raises `InvalidSettings`, `StorageFull`."""
        return self._keys()[-1]

    def verifying_keys(self) -> Mapping[str, SigningKey]:
        """Return every key whose tokens are valid, by id. Raises like `signing_key`."""
        return {key.id: key for key in _alive(self._keys(), self._clock())}

    def rotate(self, *, revoke: bool = False) -> Rotation:
        """Sign with a new key from now on; with *revoke*, invalidate every earlier signature.

        Raises like `signing_key`, and `InvalidOptions` after `MAX_KEYS` rotations within the life of a token.
        """
        with self._locked():
            before = self._load() or ()
            kept = () if revoke else _alive(before, self._clock())
            if len(kept) >= MAX_KEYS:
                raise InvalidOptions(
                    f"{self._path} holds {MAX_KEYS} keys whose links may still be in use; rotate less often, or revoke "
                    "all links and drop the keys: waybill keys rotate-links --revoke"
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
        had_keys = self._lock_path().exists()
        with self._locked():
            # Another process may have created it since.
            found = self._load()
            if found is None:
                found = (self._new_key(),)
                self._write(found)
                if had_keys:  # only keys leave a lock file
                    log.warning(
                        "the link signing keys %s were gone; new ones were created, and earlier links do not "
                        "work unless the file is restored",
                        self._path,
                    )
                else:
                    log.info("created the link signing keys %s", self._path)
        return found

    def _new_key(self) -> SigningKey:
        return SigningKey(id=secrets.token_hex(8), secret=secrets.token_bytes(SECRET_BYTES), created_at=self._clock())

    def _load(self) -> tuple[SigningKey, ...] | None:
        """Return the keys in the file; None when there is no file."""
        try:
            found = self._path.stat()
            # A change of the mode changes the ctime, so rights that were widened later are noticed too.
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if self._read is None or self._read[0] != version:
                self._read = (version, _parse(self._path, self._content()))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise _unusable(self._path, exc.strerror or type(exc).__name__) from exc
        return self._read[1]

    def _content(self) -> bytes:
        return read_private(
            self._path,
            what="which signs links",
            most_bytes=_MAX_FILE_BYTES,
            advice="; if another account may have read it, also run: waybill keys rotate-links --revoke",
        )

    def _write(self, keys: Sequence[SigningKey]) -> None:
        with _os_errors(self._path):
            # Where the path is a link, the file behind it is replaced: it may be shared with other machines.
            write_atomically(self._path.resolve(), _render(keys))

    @contextmanager
    def _locked(self) -> Generator[None]:
        """Keep other processes from changing the file; the kernel releases the lock of a dead process."""
        lock_path = self._lock_path()
        with _os_errors(self._path):
            lock_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with file_lock(lock_path):
                yield

    def _lock_path(self) -> Path:
        target = self._path.resolve()
        return target.with_name(f"{target.name}.lock")


def _alive(keys: Sequence[SigningKey], now: datetime) -> tuple[SigningKey, ...]:
    """Return keys whose tokens may still be valid: each has signed until its successor was created."""
    longest = MAX_LIFETIME + MAX_LEEWAY
    earlier = (key for key, successor in pairwise(keys) if now < successor.created_at + longest)
    return (*earlier, *keys[-1:])


# The file -------------------------------------------------------------------------------------------------------------


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
    """Parse the file's content. Raises `InvalidSettings`, without the content, for anything `_render` cannot write."""
    try:
        if len(content) > _MAX_FILE_BYTES:
            raise ValueError("too long")
        found = cast("dict[str, Any]", json.loads(content))
        keys = tuple(_parse_key(row) for row in found["keys"])
        ids = {key.id for key in keys}
        if found["format"] != _FORMAT or not keys or len(ids) < len(keys):
            raise ValueError("no keys, or a duplicate id")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # Without the cause: its message could quote a secret.
        raise _unusable(
            path, "its content is not what Waybill writes; restore it, or remove it to have new keys created, which "
            "invalidates all existing links"
        ) from None  # fmt: skip
    return keys


def _parse_key(row: Mapping[str, Any]) -> SigningKey:
    secret = base64.b64decode(row["secret"].encode(), altchars=b"-_", validate=True)
    created_at = datetime.fromisoformat(row["created_at"])
    if not _ID.fullmatch(row["id"]) or not SECRET_BYTES <= len(secret) <= 64 or created_at.tzinfo is None:
        raise ValueError("not a key")
    return SigningKey(id=row["id"], secret=secret, created_at=created_at)


@contextmanager
def _os_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        if is_disk_full(exc):
            raise write_error(path, exc) from exc
        raise _unusable(path, exc.strerror or type(exc).__name__) from exc


def _unusable(path: Path, why: str) -> InvalidSettings:
    return InvalidSettings(
        f"cannot use the link signing keys in {path}: {why}; to use another file, set WAYBILL_LINK_KEYS_FILE"
    )
