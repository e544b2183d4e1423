"""Copy stored files into a backup repository, each once, and compare them with their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from blocks.catalog import Catalog
from blocks.custody.manifest import manifest_path
from blocks.errors import BlobMissing, StackUnavailable, WaybillError
from blocks.runtime.atomic_file import atomic_file
from blocks.runtime.threads import in_thread
from blocks.settings import Settings
from blocks.storage import Backend, open_backend, read_chunks
from waybill.services.backups import Repository
from waybill.stack.backup.stored_rows import pages_of_stored_files, rows_of_stored_files


@dataclass(kw_only=True)
class Copied:
    """What a backup holds of the storage: sha256 by path, what of it is new, and what could not be copied."""

    sums: dict[str, str] = field(default_factory=dict[str, str])
    bytes: int = 0
    new_files: int = 0
    new_bytes: int = 0
    problems: list[str] = field(default_factory=list[str])


async def copy_files(settings: Settings, repository: Repository, copied: Copied) -> None:
    """Copy every available file that the repository does not have, with its manifest, and list all of them.

    A file that is removed meanwhile is no problem, and one that moves is copied from its new place.
    """
    backend = open_backend(settings.resolved_storage_url, settings.storage_options)
    known = _known_sums(repository)
    async with Catalog.open(settings.required_database_url) as catalog:
        async for rows in pages_of_stored_files(catalog):
            missing = await in_thread(partial(_copy_page, backend, repository, known, copied, rows))
            if missing:
                moved = await _moved(catalog, missing, copied)
                again = await in_thread(partial(_copy_page, backend, repository, known, copied, moved))
                copied.problems += map(_not_there, again)


async def _moved(catalog: Catalog, missing: list[dict[str, Any]], copied: Copied) -> list[dict[str, Any]]:
    """Return the rows of now of those files that were moved; report those that were neither moved nor removed."""
    before = {row["file_id"]: row["location"] for row in missing}
    rows = await rows_of_stored_files(catalog, list(before))
    copied.problems += [_not_there(row) for row in rows if row["location"] == before[row["file_id"]]]
    return [row for row in rows if row["location"] != before[row["file_id"]]]


def _not_there(row: dict[str, Any]) -> str:
    return f"{row['file_id']}: {row['location']} or its manifest is not in the storage"


def _known_sums(repository: Repository) -> dict[str, str]:
    """Return what the newest backup lists, or nothing: without it, manifests are read again."""
    before = repository.backups()
    try:
        return dict(repository.listed_files(before[-1].backup_id)) if before else {}
    except (OSError, ValueError):
        return {}


def _copy_page(
    backend: Backend,
    repository: Repository,
    known: dict[str, str],
    copied: Copied,
    rows: list[dict[str, Any]],
    check: Callable[[], None],
) -> list[dict[str, Any]]:
    """Copy files and manifests; return the rows of those that are not there."""
    missing: list[dict[str, Any]] = []
    for row in rows:
        check()
        path = row["location"]
        separate = [(manifest_path(path), None)] if row["manifest"] == "separate" else []
        for one, expected in [(path, row["stored_sha256"]), *separate]:
            try:
                _copy_one(backend, repository, one, expected or known.get(one), copied)
            except BlobMissing:
                missing.append(row)
                break
            except WaybillError as error:
                copied.problems.append(f"{row['file_id']}: {error.message}")
    return missing


def _copy_one(backend: Backend, repository: Repository, path: str, expected: str | None, copied: Copied) -> None:
    target = repository.files / path
    size = backend.size(path)
    if expected is not None and target.is_file() and target.stat().st_size == size:
        copied.sums[path] = expected
        copied.bytes += size
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    with backend.open(path) as source, atomic_file(target, durable=True) as copy:
        for chunk in read_chunks(source):
            sha256.update(chunk)
            copy.write(chunk)
        if expected is not None and sha256.hexdigest() != expected:
            raise StackUnavailable(f"{path} is damaged, so it was not copied: waybill files verify")
    copied.sums[path] = sha256.hexdigest()
    copied.bytes += size
    copied.new_files += 1
    copied.new_bytes += size
