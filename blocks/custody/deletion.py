"""Delete stored bytes with their manifests. Owns what happens to a path that can hold none.

A row may name a path that Waybill never makes: SQL has written it. Where the storage cannot have a blob there, nothing
is left to delete, and the row can end; otherwise it would be tried, and fail, for ever. A path of Waybill's own form is
another matter: a folder or a link in its place is removed by a person, and its bytes may lie elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from blocks.catalog import ManifestPlace
from blocks.custody.manifest import is_manifest_path, manifest_path
from blocks.errors import UnsafeKey, WaybillError
from blocks.storage import Backend, is_blob_path, is_file_path

# A row may name a path of any length.
_MAX_SHOWN_CHARS = 200

_LOG = logging.getLogger("waybill.custody")


@dataclass(frozen=True, kw_only=True)
class NotDeleted:
    """Paths with reasons. Those that *failed* may still have bytes; those that are *unusable* cannot have any."""

    failed: dict[str, str]
    unusable: dict[str, str]


def delete_stored(backend: Backend, path: str, *, file_id: UUID, manifest: ManifestPlace = "separate") -> None:
    """Remove the blob of a file, then its manifest, and leftovers of interrupted writers of either. Blocks. Idempotent.

    A *manifest* that is inline goes with the blob; of a file that was never available, it may be in either place.
    Removes nothing where the path is unusable, and logs that. Raises what `Backend.delete` raises.
    """
    # The blob goes first: a manifest that is left without its blob restores nothing.
    if (reason := _delete(backend, path, manifest)) is not None:
        warn_of_unusable(file_id, path, reason)


def delete_many_stored(backend: Backend, paths: Sequence[str], *, inline: Set[str] = frozenset()) -> NotDeleted:
    """Remove blobs, then their manifests; return those of *paths* that are not gone. Blocks.

    Those of the *inline* paths go with their blobs.
    A missing one is success. Leaves leftovers of interrupted writers. Raises what `Backend.delete_many` raises.
    """
    odd = [path for path in paths if not is_file_path(path) or is_manifest_path(path)]
    refused = {path for path in odd if not is_blob_path(path) or is_manifest_path(path)}
    blobs = [path for path in paths if path not in refused] if refused else paths
    # In one call, which waits for the disk once; the blobs first, as with `delete_stored`.
    manifests = {manifest_path(path): path for path in blobs if path not in inline}
    reasons = backend.delete_many([*blobs, *manifests])
    failed = {manifests.get(path, path): reason for path, reason in reversed(reasons.items())}
    unusable: dict[str, str] = {}
    for path in odd:
        if path in refused or path in failed:
            try:
                reason = _delete(backend, path)
            except WaybillError as error:
                failed[path] = error.message
            else:
                failed.pop(path, None)
                unusable |= {path: reason} if reason is not None else {}
    return NotDeleted(failed=failed, unusable=unusable)


def warn_of_unusable(file_id: UUID | str, path: str, reason: str) -> str:
    """Log that the row of a file ends although nothing could be deleted; return location and reason."""
    shown = f"location={path[:_MAX_SHOWN_CHARS]!r}: {reason}"
    _LOG.warning("file=%s %s; no stored bytes can be there, so none were deleted", file_id, shown)
    return shown


def _delete(backend: Backend, path: str, manifest: ManifestPlace = "separate") -> str | None:
    """Delete blob and manifest; return why the storage cannot have a blob at *path*, None where it can."""
    if is_manifest_path(path):
        return f"{path} is the place of another file's manifest"
    try:
        backend.delete(path, interrupted=True)
        if manifest == "separate":
            backend.delete(manifest_path(path), interrupted=True)
    except UnsafeKey as error:
        if is_file_path(path):
            raise
        return error.message
    return None
