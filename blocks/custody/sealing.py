"""Store a small file in one piece, in any process of this machine: `fill_whole`.

A worker that reads hostile documents stores its output itself. For that it gets a `Sealing` (the public key and the
folder of the storage) and a `KeepOrder`, and returns a `Filled`: plain data, without identities and credentials. The
file is not readable yet. Its process then publishes what is spooled (`Custody.finish`), syncs the folder
(`Backend.sync_folders`) and makes the row available.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from blocks.age import parse_recipient, seal_whole
from blocks.catalog import Artifact, Draft, Reservation, Stored
from blocks.custody.manifest import manifest_path, write_manifest
from blocks.keys import StorageRecipient
from blocks.runtime.write_errors import write_error
from blocks.storage.local import LocalBackend

# Contents up to this are handled in one piece: a few MiB of memory, and no thread that works ahead.
WHOLE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """What a process needs to store small files. `recipient` is None where encryption is off.

    `root` is the folder of a local storage. It is None for another storage: then `KeepOrder.spool` is written.
    """

    recipient: StorageRecipient | None
    root: Path | None


@dataclass(frozen=True, kw_only=True)
class KeepOrder:
    """What to store a content under. `draft` describes it, but for what its maker reports.

    `now` is the catalogue's time and `time.monotonic` of that moment. `encrypted_for` is the recipient to encrypt for,
    which a rotation may have changed since the process got its `Sealing`.
    """

    reservation: Reservation
    draft: Draft
    now: tuple[datetime, float]
    spool: Path
    encrypted_for: str | None


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A stored file: its folder entry is not yet synced, and its row not yet available.

    `spooled` has the sealed bytes where there is no local storage; `Custody.finish` publishes and removes them.
    """

    artifact: Artifact
    spooled: Path | None = None


def fill_whole(
    sealing: Sealing,
    order: KeepOrder,
    content: bytes,
    *,
    metadata: Mapping[str, Any] | None = None,
    report: Mapping[str, Any] | None = None,
) -> Filled:
    """Seal and store *content* with its manifest; *metadata* and *report* replace those of the order's draft. Blocks.

    What an earlier attempt of the same order has left is replaced. Raises what `Backend.publish` raises,
    `CatalogRefused` for metadata that the catalogue would refuse, and `TargetUnwritable` for the spool. After an error
    the owner of the reservation undoes it (`Custody.undo`).
    """
    given = {name: value for name, value in (("metadata", metadata), ("report", report)) if value is not None}
    recipient = _recipient(sealing, order)
    stored, sealed = _sealed(content, recipient)
    then, counted_from = order.now
    now = then + timedelta(seconds=time.monotonic() - counted_from)
    artifact = order.reservation.filled(replace(order.draft, **given), stored, now)
    manifest = write_manifest(artifact, recipient)
    if sealing.root is None:
        _write_spool(order.spool, sealed)
        return Filled(artifact=artifact, spooled=order.spool)
    backend = LocalBackend(sealing.root)
    backend.publish(artifact.location, [sealed], replace=True, sync_folder=False)
    backend.publish(manifest_path(artifact.location), [manifest], replace=True, sync_folder=False)
    return Filled(artifact=artifact)


def _sealed(content: bytes, recipient: StorageRecipient | None) -> tuple[Stored, bytes]:
    """Return sizes and hashes, and the bytes to store."""
    size, sha256 = len(content), hashlib.sha256(content).hexdigest()
    if recipient is None:
        return Stored(size=size, sha256=sha256, stored_size=size, stored_sha256=sha256), content
    header, payload = seal_whole(content, [recipient])
    sealed = header + payload
    stored = Stored(
        size=size,
        sha256=sha256,
        stored_size=len(sealed),
        stored_sha256=hashlib.sha256(sealed).hexdigest(),
        encrypted_for=recipient.text,
        header_sha256=hashlib.sha256(header).hexdigest(),
    )
    return stored, sealed


def _recipient(sealing: Sealing, order: KeepOrder) -> StorageRecipient | None:
    if order.encrypted_for is None or (sealing.recipient and sealing.recipient.text == order.encrypted_for):
        return sealing.recipient if order.encrypted_for else None
    return _parsed(order.encrypted_for)


@lru_cache(maxsize=4)
def _parsed(text: str) -> StorageRecipient:
    return parse_recipient(text)


def _write_spool(spool: Path, sealed: bytes) -> None:
    """Write the sealed bytes for the owner alone. They are not synced: after a crash their reservation is undone."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(spool, flags, 0o600), "wb") as stream:
            stream.write(sealed)
    except OSError as exc:
        raise write_error(spool, exc) from exc
