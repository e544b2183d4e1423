"""Rebuild the catalogue from the storage: a row for every manifest whose blob exists.

A blob without a manifest next to it may have one in its header: then all of it is decrypted and compared.

For a database that is lost, and for files that a mistaken retention policy has removed and whose bytes are back. It
changes no other row, so it may be interrupted and called again. The reuse of files
by later runs, and the search index, are not in the storage.

A manifest is encrypted and not signed: an account that can write to the storage and knows the public storage key can
add files, also outputs with a stage key of its choice, which later runs would reuse. No content can show that; so names
are cleaned, sizes are compared, and the documentation says to process without reuse where others could write.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial

from blocks.catalog import KINDS, Artifact
from blocks.catalog.maintenance import known_files, restore
from blocks.catalog.sweeping import hold_against_sweep, states_of_paths
from blocks.custody.custody import Custody
from blocks.custody.manifest import is_manifest_path, manifest_path
from blocks.custody.stored_manifest import read_manifest_of
from blocks.errors import BlobMissing, MalformedManifest, NoMatchingIdentity, WaybillError
from blocks.runtime.concurrency import bounded_map
from blocks.runtime.threads import StopCheck, in_thread
from blocks.storage import kind_folder

# Manifests are small, and on an object store each is a round trip: several concurrently, few enough for any server.
CONCURRENT_MANIFESTS = 8


@dataclass(kw_only=True)
class Rebuilt:
    """Counts, and the path and reason of each problem."""

    restored: int = 0
    known: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    blobs_without_manifest: list[str] = field(default_factory=list[str])


async def rebuild(
    custody: Custody, *, accept_plain: bool, dry_run: bool, on_progress: Callable[[int, int], None]
) -> Rebuilt:
    """Write a row for each manifest in the storage that has none; *dry_run* only counts them.

    Accepts unencrypted manifests where encryption is off, or with *accept_plain*. Calls *on_progress* with the number
    of manifests of a kind that are done, and of all. Raises `StorageUnavailable` when the storage cannot be listed.
    """
    found = Rebuilt()
    accept_plain = accept_plain or custody.keys.are_off
    for kind in KINDS:
        paths = set(await in_thread(lambda check, kind=kind: _listed(custody, kind_folder(kind), check)))
        manifests = sorted(path for path in paths if is_manifest_path(path))
        bare = sorted(path for path in paths if not is_manifest_path(path) and manifest_path(path) not in paths)
        read = partial(_take_in, custody, paths, found, accept_plain=accept_plain, dry_run=dry_run)
        done = 0
        async with aclosing(bounded_map(CONCURRENT_MANIFESTS, [*manifests, *bare], read)) as outcomes:
            async for _ in outcomes:
                done += 1
                on_progress(done, len(manifests) + len(bare))
    found.failed.sort()
    found.blobs_without_manifest.sort()
    return found


class _NoManifest(Exception):
    """A blob has a manifest neither next to it nor in it; never leaves this module."""


async def _take_in(
    custody: Custody, paths: set[str], found: Rebuilt, path: str, *, accept_plain: bool, dry_run: bool
) -> None:
    try:
        is_new = await _read_and_restore(custody, paths, path, accept_plain=accept_plain, dry_run=dry_run)
    except _NoManifest:
        found.blobs_without_manifest.append(path)
    except WaybillError as error:
        found.failed.append((path, error.message))
    except (ValueError, OSError, RecursionError) as error:
        # Any account with access to the storage can write a manifest, and one must not keep the others from being read.
        found.failed.append((path, f"it cannot be read ({type(error).__name__})"))
    else:
        found.restored += is_new is True
        found.known += is_new is False


async def _read_and_restore(
    custody: Custody, paths: set[str], path: str, *, accept_plain: bool, dry_run: bool
) -> bool | None:
    """Return whether the manifest's file has a new row; None when it was moved or deleted since it was listed."""
    try:
        artifact = await _read(custody, path, accept_plain=accept_plain)
    except BlobMissing:
        return None
    if artifact is None:
        raise _NoManifest
    try:
        if artifact.location not in paths:
            raise BlobMissing("the blob that it describes is gone; restore it from a backup and rebuild again")
        return await _restore(custody, artifact, dry_run=dry_run)
    except BlobMissing:
        if await _is_going(custody, artifact):
            return None
        raise


async def _read(custody: Custody, path: str, *, accept_plain: bool) -> Artifact | None:
    """Return what a manifest describes; a rotation may have encrypted it for a key that was made since the start."""

    def read(_: StopCheck) -> Artifact | None:
        return read_manifest_of(custody.backend, path, custody.keys, accept_plain=accept_plain)

    try:
        return await in_thread(read)
    except NoMatchingIdentity:
        await custody.look_for_new_keys()
    return await in_thread(read)


async def _is_going(custody: Custody, artifact: Artifact) -> bool:
    """Return whether a file whose blob is gone is being moved or deleted: its manifest goes after the blob."""
    async with custody.catalog.connection() as connection:
        states = await states_of_paths(connection, [artifact.location])
        known = await known_files(connection, [artifact.file_id])
    has_moved = known.get(artifact.file_id, artifact.location) != artifact.location
    if has_moved or states.get(artifact.location) == "deleting":
        return True
    try:
        await in_thread(lambda _: custody.backend.size(manifest_path(artifact.location)))
    except BlobMissing:
        return True
    return False


async def _restore(custody: Custody, artifact: Artifact, *, dry_run: bool) -> bool:
    stored_size = artifact.stored_size
    async with custody.catalog.transaction() as connection:
        # From the look at the blob until the row is there, no sweep may take it for one without a row.
        await hold_against_sweep(connection)
        if dry_run:
            is_new = not await known_files(connection, [artifact.file_id])
        else:
            is_new = await restore(connection, artifact)
        # Only now, while others do not see the row: a run of the retention may have removed the file since the storage
        # was listed, and the row would come back without its bytes. An error undoes it.
        if is_new and (size := await in_thread(lambda _: custody.backend.size(artifact.location))) != stored_size:
            raise MalformedManifest(f"the blob has {size} bytes, not the {stored_size} that it describes")
        return is_new


def _listed(custody: Custody, folder: str, check: StopCheck) -> list[str]:
    paths: list[str] = []
    for path in custody.backend.paths(folder):
        check()
        paths.append(path)
    return paths
