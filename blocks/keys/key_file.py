"""The identity file in the home: made once, only ever added to.

Owns the file's form (that of ``age-keygen``, so the ``age`` command reads it), its mode (0600) and the races of
processes that both need the first key, or both add one. The identity that stands first is the one to write for; those
after it open what was written before a rotation. Refuses a file that everybody can read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from pathlib import Path

from blocks.age import X25519Identity, identity_file, parse_identities, parse_recipient
from blocks.errors import InvalidKey, InvalidSettings
from blocks.keys.storage_keys import StorageIdentity, StorageKeys, StorageRecipient
from blocks.settings import Settings

# A key pair takes 200 bytes (a post-quantum one more); a thousand rotations fit, somebody's video does not.
MAX_FILE_BYTES = 1024 * 1024


def load_storage_keys(settings: Settings, *, on_created: Callable[[Path], None] = lambda _: None) -> StorageKeys:
    """The keys that the environment asks for; a missing key pair is made, and *on_created* is told where.

    Raises `InvalidSettings` when the file cannot be read, is open to everybody or is not an identity file, or when
    `WAYBILL_STORAGE_RECIPIENT` is no recipient.
    """
    path = settings.resolved_storage_identity_file
    identities = _read(path)
    if not settings.encrypt:
        return StorageKeys(recipient=None, identities=identities)
    if settings.storage_recipient is not None:
        return StorageKeys(recipient=_given_recipient(settings.storage_recipient), identities=identities)
    if not identities:
        if settings.storage_identity_file is not None:
            raise InvalidSettings(
                f"WAYBILL_STORAGE_IDENTITY_FILE names {path}, which does not exist; put the identity file there, or "
                "unset the variable to have a key pair made in the home"
            )
        identities = _create(path, on_created)
    return StorageKeys(recipient=identities[0].recipient, identities=identities)


def identities_of_its_own(path: Path, *, may_create: bool) -> tuple[StorageIdentity, ...]:
    """The identities in a file beside that of the storage; the first one is made unless *may_create* is off.

    Of processes that do so at once one wins, and all get its key. Raises `InvalidSettings`.
    """
    return _read(path) or (_create(path, lambda _: None) if may_create else ())


def add_identity(path: Path, *, now: datetime | None = None) -> X25519Identity:
    """Make a new identity and put it first in the file; the earlier ones stay below it. Returns the new one.

    The file is replaced in one step, so a crash leaves the old one or the new one; of several processes that do so at
    once, one waits for the other, so none of their keys is lost. Raises `InvalidSettings`.
    """
    # Where the path is a link, the file behind it is replaced: it may be shared with other machines.
    target = path.resolve()
    identity = X25519Identity.generate()
    with _locked(target):
        earlier = _text(target) or ""
        _replace(target, identity_file(identity, now or datetime.now(UTC)) + earlier)
    return identity


def _given_recipient(text: str) -> StorageRecipient:
    try:
        return parse_recipient(text.strip())
    except InvalidKey as exc:
        raise InvalidSettings(f"WAYBILL_STORAGE_RECIPIENT is not an age recipient (age1...): {exc}") from exc


def _read(path: Path) -> tuple[StorageIdentity, ...]:
    """The identities of the file, none where there is no file."""
    text = _text(path)
    if text is None:
        return ()
    try:
        return tuple(parse_identities(text))
    except InvalidKey as exc:
        raise InvalidSettings(
            f"{path} is not an identity file as age-keygen makes it: {exc}; restore it from a backup, or remove it to "
            "have a new key pair made (what is stored for the old one cannot be read then)"
        ) from exc


def _text(path: Path) -> str | None:
    try:
        # O_NONBLOCK: a FIFO in its place must not hang the reader.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
            if os.fstat(stream.fileno()).st_mode & stat.S_IRWXO:
                raise InvalidSettings(f"everybody on this machine can read {path}, a secret key; run: chmod 600 {path}")
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:  # the end of it must not be forgotten when it is written anew
            raise InvalidSettings(f"{path} is not an identity file: it has more than {MAX_FILE_BYTES} bytes")
        return content.decode()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidSettings(f"cannot read the identity file {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidSettings(f"{path} is not an identity file: it is not text") from exc


def _create(path: Path, on_created: Callable[[Path], None]) -> tuple[StorageIdentity, ...]:
    """Make the first key pair. Of processes that do so at once one wins, and the others use its key."""
    identity = X25519Identity.generate()
    with _temporary(path, identity_file(identity, datetime.now(UTC))) as written:
        try:
            os.link(written, path)  # refuses a name that is taken, and shows the file only whole
        except FileExistsError:
            return _read(path)
        except OSError:
            written.replace(path)  # a file system without hard links; there two first processes must not race
        _sync_folder(path.parent)
    on_created(path)
    return (identity,)


def _replace(path: Path, text: str) -> None:
    with _temporary(path, text) as written:
        written.replace(path)
        _sync_folder(path.parent)


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    """Be the only one that changes the file; the kernel gives the lock back when a process dies."""
    with contextlib.ExitStack() as until_done:
        try:
            # Not the file itself: it is replaced, and a lock on it would go with it.
            descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            until_done.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as exc:
            raise InvalidSettings(f"cannot lock the identity file {path}: {exc.strerror}") from exc
        yield


@contextlib.contextmanager
def _temporary(path: Path, text: str) -> Generator[Path]:
    """A file beside *path* with *text*, on disk; gone afterwards if it still has its own name."""
    written = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as exc:
        written.unlink(missing_ok=True)
        raise InvalidSettings(f"cannot write the identity file {path}: {exc.strerror}") from exc
    try:
        yield written
    finally:
        written.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
