"""The keys of a storage, and the identity file in the home that holds them: created once, only ever added to.

Owns the file's format (that of ``age-keygen``), its mode (0600), and the races of processes that create or add one. The
first identity is the one to encrypt for; the others open files that were stored before a rotation.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blocks.age import (
    HybridIdentity,
    HybridRecipient,
    X25519Identity,
    X25519Recipient,
    identity_file,
    parse_identities,
    parse_recipient,
)
from blocks.errors import InvalidKey, InvalidSettings, StorageKeyMissing, WaybillError
from blocks.runtime.atomic_file import write_atomically
from blocks.runtime.file_lock import file_lock
from blocks.runtime.private_file import read_private
from blocks.runtime.write_errors import is_disk_full, write_error
from blocks.settings import Settings

StorageRecipient = X25519Recipient | HybridRecipient
StorageIdentity = X25519Identity | HybridIdentity

# A key pair has 200 bytes (a post-quantum one more): a thousand rotations fit, a file named by mistake does not.
MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class StorageKeys:
    """The recipient that files are encrypted for, and the identities that decrypt them, earlier ones included.

    Without a recipient, files are stored unencrypted; without an identity for it, files can be stored and not read.
    """

    recipient: StorageRecipient | None
    identities: tuple[StorageIdentity, ...] = ()
    # Where the identity file was expected, if it is missing and no key was created: then nothing can be stored.
    missing: Path | None = None

    def recipient_to_store_for(self) -> StorageRecipient | None:
        """Return the recipient of new files. Raises `StorageKeyMissing`."""
        if self.missing is not None:
            raise missing_key(self.missing, "nothing can be stored without it")
        return self.recipient

    @property
    def are_off(self) -> bool:
        """Whether new files are stored unencrypted."""
        return self.recipient is None and self.missing is None

    @property
    def encrypted_for(self) -> str | None:
        """The recipient as the catalogue records it; None while files are stored unencrypted."""
        return self.recipient.text if self.recipient else None

    def opens(self, encrypted_for: str | None) -> bool:
        """Return whether these keys read files that the catalogue records as *encrypted_for*."""
        return encrypted_for is None or any(one.recipient.text == encrypted_for for one in self.identities)


def missing_key(path: Path, why: str) -> StorageKeyMissing:
    """Return the error to raise when the storage key at *path* is missing; *why* says what needs it."""
    return StorageKeyMissing(
        f"the storage key {path} is missing: {why}; mount the volume that it is on, restore the file from its backup, "
        "or set WAYBILL_STORAGE_RECIPIENT where the secret key is kept elsewhere on purpose. To give up what is "
        "encrypted for it and have a new key created: waybill keys storage --new"
    )


def load_storage_keys(
    settings: Settings,
    *,
    may_create: bool = True,
    before_creation: Callable[[Path], None] = lambda _: None,
    on_created: Callable[[Path], None] = lambda _: None,
) -> StorageKeys:
    """Return the keys that the environment names. A missing key pair is created, unless *may_create* is off.

    *before_creation* is called with the path and may refuse by raising; *on_created* is called afterwards. Raises
    `InvalidSettings` when the file cannot be read, other accounts have rights to it or it is not an identity file, or
    when `WAYBILL_STORAGE_RECIPIENT` is no recipient.
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
                "unset the variable to have a key pair created in the home"
            )
        if not may_create:
            return StorageKeys(recipient=None, missing=path)
        identities = _checked(path, before_creation) or _create(path, on_created)
    return StorageKeys(recipient=identities[0].recipient, identities=identities)


def identities_of_its_own(path: Path, *, may_create: bool) -> tuple[StorageIdentity, ...]:
    """Return the identities in a file other than the storage's; create the first one if *may_create*.

    Of processes that create it concurrently one wins, and all get its identity. Raises `InvalidSettings`.
    """
    return _read(path) or (_create(path, lambda _: None) if may_create else ())


def add_identity(path: Path, *, now: datetime | None = None) -> X25519Identity:
    """Create an identity, put it first in the file, above the earlier ones, and return it.

    The file is replaced in one step, under a lock that concurrent processes respect. Raises `InvalidSettings`.
    """
    # Where the path is a link, the file behind it is replaced: it may be shared with other machines.
    target = path.resolve()
    identity = X25519Identity.generate()
    # The lock is on another file: this one is replaced, and a lock on it would go with it.
    with _os_errors(path), file_lock(target.with_name(f"{target.name}.lock")):
        earlier = _text(target) or ""
        write_atomically(target, (identity_file(identity, now or datetime.now(UTC)) + earlier).encode())
    return identity


def _checked(path: Path, before_creation: Callable[[Path], None]) -> tuple[StorageIdentity, ...]:
    try:
        before_creation(path)
    except WaybillError:
        # Another process may have created the key meanwhile, and stored the files that need it.
        if identities := _read(path):
            return identities
        raise
    return ()


def _given_recipient(text: str) -> StorageRecipient:
    try:
        return parse_recipient(text.strip())
    except InvalidKey as exc:
        raise InvalidSettings(f"WAYBILL_STORAGE_RECIPIENT is not an age recipient (age1...): {exc}") from exc


def _read(path: Path) -> tuple[StorageIdentity, ...]:
    """Return the identities in the file, none where there is no file."""
    text = _text(path)
    if text is None:
        return ()
    try:
        return tuple(parse_identities(text))
    except InvalidKey as exc:
        raise InvalidSettings(
            f"{path} is not an identity file as age-keygen writes it: {exc}; restore it from a backup (files that were "
            "stored for it cannot be read without it)"
        ) from exc


def _text(path: Path) -> str | None:
    try:
        content = read_private(path, what="a secret key", most_bytes=MAX_FILE_BYTES)
        if len(content) > MAX_FILE_BYTES:  # reading less would lose the rest when an identity is added
            raise InvalidSettings(f"{path} is not an identity file: it has more than {MAX_FILE_BYTES} bytes")
        return content.decode()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise InvalidSettings(f"cannot read the identity file {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidSettings(f"{path} is not an identity file: it is not text") from exc


def _create(path: Path, on_created: Callable[[Path], None]) -> tuple[StorageIdentity, ...]:
    """Create the first key pair. Of processes that do so concurrently one wins, and the others use its key."""
    identity = X25519Identity.generate()
    with _os_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            write_atomically(path, identity_file(identity, datetime.now(UTC)).encode(), replace=False)
        except FileExistsError:
            return _read(path)
    on_created(path)
    return (identity,)


@contextmanager
def _os_errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        if is_disk_full(exc):
            raise write_error(path, exc) from exc
        raise InvalidSettings(f"cannot write the identity file {path}: {exc.strerror}") from exc
