"""Checks of rows against stored bytes: each available file has its bytes and manifest, and each blob its row.

Reads while others write: the storage is listed before the rows are read, since a row announces its blob, and whatever
looks wrong is looked at again, by its row of now, before it is reported.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from blocks.catalog import KINDS
from blocks.catalog.maintenance import by_recipient, longest_unverified
from blocks.catalog.sweeping import states_of_paths
from blocks.custody import Custody
from blocks.custody.manifest import MANIFEST_SUFFIX, is_manifest_path, manifest_path
from blocks.custody.verify import verify_many
from blocks.errors import BlobMissing, Permanent
from blocks.postgres import fetch_all, fetch_row
from blocks.runtime.concurrency import bounded_map
from blocks.storage import kind_folder
from waybill.services.doctor.findings import Findings

# A page is one job of a thread, which asks the storage for each size: a few pages at a time hide a network's latency.
_PAGE_ROWS = 200
_CONCURRENT_PAGES = 8

_ROWS = """
    select file_id, state, filename, location, spare_location, size, stored_size, run_id, created_at, damaged_at,
           damage, manifest, clock_timestamp() as now
      from artifacts where file_id > %(after)s order by file_id limit %(limit)s
"""
_NOW = "select file_id, state, filename, location, stored_size from artifacts where file_id = any(%(file_ids)s)"
# Of damaged files: those that a later run has made or stored again.
_REPLACED = """
    select d.file_id from artifacts d
     where d.file_id = any(%(file_ids)s) and exists (
           select from artifacts a
            where a.file_id <> d.file_id and a.state = 'available' and a.damaged_at is null
              and (a.expires_at > clock_timestamp() or a.pinned_at is not null or a.held_at is not null)
              and case when d.stage_key is not null then a.stage_key = d.stage_key
                       else a.kind = d.kind and left(a.source_file, 512) = left(d.source_file, 512)
                            and a.source_file = d.source_file and a.sha256 = d.sha256 end)
"""
_OUTPUTS_WITHOUT_ROW = """
    select o.run_id || ' ' || o.file_id as output
      from run_outputs o left join artifacts a using (file_id) where a.file_id is null
"""
_OUTPUTS = "select count(*) as outputs, count(distinct run_id) as runs from run_outputs"
# A mark ends when a check finds the bytes whole, or with its file. Making the file again makes another one.
_REPLACE = (
    "put their bytes back from a backup and run 'waybill files verify ID', or make them again (process their "
    "sources, upload or export them) and remove the damaged ones: waybill files rm ID"
)


@dataclass
class _Seen:
    """What the rows say, and which of it does not fit the storage."""

    stored: set[str]
    states: Counter[str] = field(default_factory=Counter[str])
    size: int = 0
    stored_size: int = 0
    checked: int = 0
    doubtful: list[UUID] = field(default_factory=list[UUID])
    without_manifest: list[UUID] = field(default_factory=list[UUID])
    damaged: dict[UUID, str] = field(default_factory=dict[UUID, str])
    deleting: list[UUID] = field(default_factory=list[UUID])
    pending: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    moving: list[str] = field(default_factory=list[str])
    now: datetime | None = None


async def check_stored_files(custody: Custody, found: Findings, *, living_runs: set[str]) -> set[UUID]:
    """Examine every row and every blob, by existence and size. Return the files that cannot be read to their end."""
    unreadable: set[UUID] = set()
    with found.examining("blobs", "damaged", "manifests", "orphans", "unfinished"):
        listed = await asyncio.to_thread(_listed, custody)
        seen = _Seen(stored=set(listed))
        pages = bounded_map(_CONCURRENT_PAGES, _pages(custody, seen), lambda rows: _compare(custody, rows, seen))
        async with aclosing(pages) as compared:
            async for _ in compared:
                pass
        unreadable = await _report_missing(custody, seen, found)
        await _report_orphans(custody, seen.stored, found)
        await _report_unfinished(custody, seen, living_runs, found)
        unreadable |= set(seen.damaged)
        await _report_damaged(custody, seen, found)
        found.counts |= {
            "rows": dict(sorted(seen.states.items())),
            "files": seen.states["available"],
            "bytes": seen.size,
            "stored_bytes": seen.stored_size,
            "blobs": sum(not is_manifest_path(path) for path in listed),
            "manifests": sum(is_manifest_path(path) for path in listed),
        }
    with found.examining("run-outputs"):
        async with custody.catalog.connection() as connection:
            lost = [row["output"] for row in await fetch_all(connection, _OUTPUTS_WITHOUT_ROW, {})]
            found.counts["run_outputs"] = await fetch_row(connection, _OUTPUTS, {})
        if lost:
            remedy = "rows were removed by other means than Waybill's; restore the database from a backup"
            found.problem("run-outputs", "outputs of runs have no row (run, file)", remedy, lost)
    return unreadable


async def check_stored_keys(custody: Custody, found: Findings) -> None:
    """Examine whether the identities here open what is stored."""
    with found.examining("stored-keys"):
        async with custody.catalog.connection() as connection:
            uses = await by_recipient(connection)
        found.counts["recipients"] = {one.encrypted_for or "unencrypted": one.files for one in uses}
        closed = [
            f"{one.encrypted_for} ({one.files} files)" for one in uses if not custody.keys.opens(one.encrypted_for)
        ]
        if not closed:
            return
        message = "files are encrypted for keys that are not here, so they cannot be read"
        if custody.keys.recipient is not None and not custody.keys.identities:
            # A machine that only stores: WAYBILL_STORAGE_RECIPIENT names a key whose secret half is elsewhere.
            found.warning("stored-keys", message, "read them on the machine that has the identity", closed)
        else:
            found.problem("stored-keys", message, "put the identities back: waybill keys storage --help", closed)


async def check_deeply(custody: Custody, found: Findings, *, reported: set[UUID]) -> None:
    """Read every file and compare its hashes, as ``waybill files verify --all`` does, with its marks.

    Files that are *reported* already are no further finding.
    """
    with found.examining("blobs"):
        outcomes: Counter[str] = Counter()
        wrong: list[str] = []
        async with aclosing(verify_many(custody, longest_unverified(custody.catalog))) as verified:
            async for one in verified:
                outcomes[one.outcome] += 1
                if one.error is not None and one.artifact.file_id not in reported:
                    wrong.append(f"{one.artifact.file_id} {one.artifact.filename}: {one.error.message}")
        found.counts["verified"] = dict(outcomes)
        if wrong:
            remedy = f"those that are damaged are marked now, so that no run reuses them; {_REPLACE}"
            found.problem("blobs", "stored bytes are not those of their rows", remedy, sorted(wrong))


def _listed(custody: Custody) -> list[str]:
    return [path for kind in KINDS for path in custody.backend.paths(kind_folder(kind))]


async def _pages(custody: Custody, seen: _Seen) -> AsyncIterator[list[dict[str, Any]]]:
    after = UUID(int=0)
    while True:
        async with custody.catalog.connection() as connection:
            rows = await fetch_all(connection, _ROWS, {"after": after, "limit": _PAGE_ROWS})
        if not rows:
            return
        after, seen.now = rows[-1]["file_id"], rows[-1]["now"]
        yield rows


async def _compare(custody: Custody, rows: Sequence[dict[str, Any]], seen: _Seen) -> None:
    to_measure: list[dict[str, Any]] = []
    for row in rows:
        seen.states[row["state"]] += 1
        location, spare = row["location"], row["spare_location"]
        if row["state"] == "available":
            seen.size += row["size"]
            seen.stored_size += row["stored_size"]
            if row["damaged_at"] is not None:
                seen.damaged[row["file_id"]] = f"{row['file_id']} {row['filename']}: {row['damage']}"
            elif location in seen.stored:
                to_measure.append(row)
            else:
                seen.doubtful.append(row["file_id"])
            is_separate = row["manifest"] == "separate"
            if is_separate and manifest_path(location) not in seen.stored and row["damaged_at"] is None:
                seen.without_manifest.append(row["file_id"])
        elif row["state"] == "deleting":
            seen.deleting.append(row["file_id"])
        elif row["state"] == "pending":
            seen.pending.append(row)
        if spare is not None:
            seen.moving.append(f"{row['file_id']} {row['filename']}")
    wrong = await asyncio.to_thread(_of_other_size, custody, to_measure)
    seen.doubtful += wrong
    for row in rows:
        if row["state"] != "deleted":
            for path in (row["location"], row["spare_location"]):
                if path is not None:
                    seen.stored -= {path, manifest_path(path)}


def _of_other_size(custody: Custody, rows: Iterable[dict[str, Any]]) -> list[UUID]:
    return [row["file_id"] for row in rows if _size(custody, row["location"]) != row["stored_size"]]


def _size(custody: Custody, path: str) -> int | str | None:
    """Return the size in bytes, None without a blob, or why one cannot be there: an odd path, a link in its place."""
    try:
        return custody.backend.size(path)
    except BlobMissing:
        return None
    except Permanent as error:
        return error.message


async def _report_missing(custody: Custody, seen: _Seen, found: Findings) -> set[UUID]:
    missing: dict[UUID, str] = {}
    other: dict[UUID, str] = {}
    odd: dict[UUID, str] = {}
    for row in await _available(custody, seen.doubtful):
        size = await asyncio.to_thread(_size, custody, row["location"])
        name = f"{row['file_id']} {row['filename']}"
        if size is None:
            missing[row["file_id"]] = name
        elif isinstance(size, str):
            odd[row["file_id"]] = f"{name}: {size}"
        elif size != row["stored_size"]:
            other[row["file_id"]] = f"{name}: {size} bytes instead of {row['stored_size']}"
    remedy = f"first mark them, so that no run reuses them: waybill files verify ID. Then {_REPLACE}"
    if missing:
        found.problem("blobs", "files have no stored bytes", remedy, missing.values())
    if other:
        found.problem("blobs", "stored bytes are cut short or changed", remedy, other.values())
    if odd:
        message = "files have no place in the storage that can be read"
        remedy = (
            "correct or delete their rows; 'waybill catalog rebuild' makes those with a manifest again. "
            "'waybill files rm ID' gives a file up"
        )
        found.problem("blobs", message, remedy, odd.values())
    bare = [
        f"{row['file_id']} {row['filename']}"
        for row in await _available(custody, [one for one in seen.without_manifest if one not in missing])
        if await asyncio.to_thread(_size, custody, manifest_path(row["location"])) is None
    ]
    if bare:
        remedy = "the catalogue could not be rebuilt with them; 'waybill keys rotate-storage' writes new manifests"
        found.problem("manifests", "files have no manifest", remedy, bare)
    return {*missing, *other, *odd}


async def _report_damaged(custody: Custody, seen: _Seen, found: Findings) -> None:
    if not seen.damaged:
        return
    async with custody.catalog.connection() as connection:
        rows = await fetch_all(connection, _REPLACED, {"file_ids": list(seen.damaged)})
    replaced = [seen.damaged.pop(row["file_id"]) for row in rows]
    if seen.damaged:
        found.problem("damaged", "files are marked as damaged", _REPLACE, seen.damaged.values())
    if replaced:
        remedy = "remove the damaged ones: waybill files rm ID"
        found.warning("damaged", "files are marked as damaged, and were made again", remedy, replaced)


async def _available(custody: Custody, file_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """Return the rows of now of those files that are still available."""
    if not file_ids:
        return []
    async with custody.catalog.connection() as connection:
        rows = await fetch_all(connection, _NOW, {"file_ids": list(file_ids)})
    return [row for row in rows if row["state"] == "available"]


async def _report_orphans(custody: Custody, left: set[str], found: Findings) -> None:
    paths = {path.removesuffix(MANIFEST_SUFFIX) for path in left}
    if not paths:
        return
    async with custody.catalog.connection() as connection:
        states = await states_of_paths(connection, list(paths))
    known = {path for path, state in states.items() if state != "deleted"}
    unknown = sorted(path for path in left if path.removesuffix(MANIFEST_SUFFIX) not in known)
    sizes = await asyncio.to_thread(lambda: [(path, _size(custody, path)) for path in unknown])
    orphans = [custody.backend.locate(path) for path, size in sizes if size is not None]
    if orphans:
        remedy = (
            "'waybill catalog rebuild' adds rows for those with a manifest, unless their file was deleted; the others "
            "belong to no file: 'waybill sweep' removes them when it has seen them twice"
        )
        found.problem("orphans", "stored bytes have no row", remedy, orphans)


async def _report_unfinished(custody: Custody, seen: _Seen, living_runs: set[str], found: Findings) -> None:
    oldest = found.tolerances.unfinished
    # The time of creation of a pending row is when its writer last showed that it lives.
    late = [
        f"{row['file_id']} {row['filename']}, since {row['created_at'].isoformat(timespec='seconds')}"
        for row in seen.pending
        if row["now"] - row["created_at"] >= oldest and str(row["run_id"]) not in living_runs
    ]
    if late:
        remedy = (
            "their writers are gone and no reader sees them; 'waybill up' and the next 'waybill process' remove them"
        )
        found.warning("unfinished", "files were not stored to their end", remedy, late)
    async with custody.catalog.connection() as connection:
        rows = await fetch_all(connection, _NOW, {"file_ids": seen.deleting}) if seen.deleting else []
    halfway = [f"{row['file_id']} {row['filename']}" for row in rows if row["state"] == "deleting"]
    if halfway:
        remedy = "'waybill up' and the next 'waybill process' finish it; so does 'waybill files rm ID'"
        found.warning("unfinished", "files were not deleted to their end", remedy, halfway)
    if seen.moving:
        remedy = "unless a rotation runs now, finish it: waybill keys rotate-storage"
        found.warning("unfinished", "moves of stored bytes are under way or were interrupted", remedy, seen.moving)
    leftovers = await asyncio.to_thread(lambda: sorted(set(custody.backend.leftovers(older_than=oldest))))
    if leftovers:
        remedy = "unless an upload of this length is under way: 'waybill sweep' removes them after a day"
        found.warning(
            "unfinished", "writers left temporary files or open uploads", remedy, map(custody.backend.locate, leftovers)
        )
