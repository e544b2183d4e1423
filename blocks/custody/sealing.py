"""Store a small file in one piece, in any process of this machine: `fill_whole`.

A worker that reads hostile documents stores its output itself. For that it gets a `Sealing` (the public key and the
folder of the storage) and a `KeepOrder`, and returns a `Filled`: plain data, without identities and credentials. The
file is not readable yet. Its process then publishes what is spooled (`Custody.finish`), syncs the folder
(`Backend.sync_folders`) and makes the row available.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from blocks.age import parse_recipient
from blocks.catalog import Artifact, Draft, Reservation
from blocks.custody.inline_manifest import WHOLE_BYTES
from blocks.custody.manifest import manifest_path
from blocks.custody.whole import seal_file
from blocks.keys import StorageRecipient
from blocks.runtime.write_errors import write_error
from blocks.storage.local import LocalBackend

__all__ = ["WHOLE_BYTES", "Filled", "KeepOrder", "Sealing", "fill_whole"]


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
    then, counted_from = order.now
    whole = seal_file(
        order.reservation,
        replace(order.draft, **given),
        content,
        created_at=then + timedelta(seconds=time.monotonic() - counted_from),
        recipient=recipient,
    )
    artifact = whole.artifact
    if sealing.root is None:
        _write_spool(order.spool, whole.sealed)
        return Filled(artifact=artifact, spooled=order.spool)
    backend = LocalBackend(sealing.root)
    backend.publish(artifact.location, (whole.sealed,), replace=True, sync_folder=False)
    if whole.manifest is not None:
        backend.publish(manifest_path(artifact.location), (whole.manifest,), replace=True, sync_folder=False)
    return Filled(artifact=artifact)


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
