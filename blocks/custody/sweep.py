"""Sweep the storage: remove what no row knows, and report rows whose bytes are gone.

A `pending` row precedes each blob, so a blob without a row belongs to no write that is under way; nevertheless it goes
only when two sweeps have seen it so, with a minimum age between them, when the storage has it for that long, and when a
last look at the catalogue, under a lock that keeps a rebuild away, finds no row. What *looks* lost may be the fault of
the look: nothing is removed when the listing or the catalogue fails or is empty, or when there is a doubt
(`sweep_doubt`). A blob whose manifest is readable is no waste but a file that a rebuild can restore; it goes only on
request. One whose manifest no key here opens never goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

from blocks.catalog.sweeping import (
    AvailableFile,
    Candidate,
    Pass,
    available_in,
    available_outside,
    candidates,
    count_by_state,
    forget_candidates,
    forget_candidates_unseen,
    hold_for_sweep,
    record_candidates,
    states_of_paths,
    time_of_catalog,
)
from blocks.custody.custody import Custody
from blocks.custody.deletion import delete_many_stored
from blocks.custody.inline_manifest import has_inline_manifest
from blocks.custody.listing import StoredFile, StoredFolder, stored_folders
from blocks.custody.stored_manifest import read_manifest_of
from blocks.custody.sweep_doubt import Doubt
from blocks.custody.sweep_report import Finding, SweepReport
from blocks.custody.sweep_unfinished import sweep_unfinished
from blocks.durations import format_duration
from blocks.errors import (
    ArtifactNotFound,
    AuthenticationFailed,
    BlobMissing,
    InvalidOptions,
    MalformedManifest,
    NoMatchingIdentity,
    Permanent,
    UnsafeKey,
    WaybillError,
)
from blocks.runtime.concurrency import bounded_map
from blocks.runtime.threads import in_thread
from blocks.storage.backend import PROBE_PATH

# Small reads and looks, each a round trip on an object store: several concurrently, few enough for any server.
_CONCURRENT_LOOKS = 8
# One request of S3, and one transaction.
_BATCH_FILES = 1000
# Of a small storage a tenth is hardly anything: this many may always go.
_ALWAYS_ALLOWED = 100
# What a look at the manifest found once need not be found again.
_RESTORABLE = "restorable"
# Another home's, or that of a key which was given up: nothing in it says which.
_OTHER_KEY = "other_key"
# Only on request: the catalogue may have lost the rows of these.
_SPARED = {
    _RESTORABLE: "'waybill catalog rebuild' can restore it; 'waybill sweep --restorable' removes it",
    "unreadable": "its manifest is damaged, so look at it first; 'waybill sweep --restorable' removes it",
}
_BUSY = {"pending": "it is being stored", "deleting": "it is being deleted"}


@dataclass(frozen=True, kw_only=True)
class SweepLimits:
    """What a sweep may remove: nothing younger than *min_age*, and in one run no more than *max_files* files and than
    the share *max_share* of all stored files (or a hundred). *restorable*: also files that a rebuild could restore.

    *upload_age* is that of temporary files and multipart uploads. Where a file without a row is encrypted for a key
    that is not here, and newer than that, nothing goes. *silent_for* is that of writers which no longer show that they
    live.
    """

    min_age: timedelta = timedelta(hours=1)
    max_files: int = 10_000
    max_share: float = 0.1
    restorable: bool = False
    upload_age: timedelta = timedelta(hours=24)
    silent_for: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        """Raises `InvalidOptions`."""
        if self.max_files < 0 or not 0 <= self.max_share <= 1:
            raise InvalidOptions("a sweep removes 0 files or more, and a share of 0 to 1 of all")
        if min(self.min_age, self.upload_age, self.silent_for) < timedelta(0):
            raise InvalidOptions("an age cannot be negative")

    def of(self, files: int) -> int:
        """Return how many of *files* may go."""
        return min(self.max_files, max(_ALWAYS_ALLOWED, int(self.max_share * files)))


async def sweep(
    custody: Custody,
    *,
    limits: SweepLimits = SweepLimits(),
    dry_run: bool = False,
) -> SweepReport:
    """Remove what no row of the catalogue knows; return what was found and done. Idempotent, and may be interrupted.

    A *dry_run* changes nothing, not even the record of what was seen. Any number may run at the same time. What keeps
    it from removing anything is in `SweepReport.stopped`; raises nothing of the storage or the catalogue.
    """
    report = SweepReport(dry_run=dry_run)
    try:
        await _Sweep(custody, limits, report).run()
    except _Stopped as reason:
        report.stopped = str(reason)
    except WaybillError as error:
        report.stopped = error.message
    return report


class _Stopped(Exception):
    """Why nothing, or nothing more, is removed; never leaves this module."""


class _Sweep:
    """One pass: compare folder by folder, and remove only after the whole storage was listed."""

    def __init__(self, custody: Custody, limits: SweepLimits, report: SweepReport) -> None:
        self._custody, self._limits, self._report = custody, limits, report
        self._folders: list[str] = []
        self._files = 0
        self._due: list[tuple[StoredFile, Candidate]] = []
        self._due_count = 0
        # By what the listing has shown; `is_marked` ones were found by an earlier look, and cast no doubt on this one.
        self._without_blob: list[AvailableFile] = []
        self._doubt = Doubt(report=report, has_identity=bool(custody.keys.identities), new_within=limits.upload_age)
        self._manifests_left = self._other_keys_left = limits.max_files

    async def run(self) -> None:
        report, catalog = self._report, self._custody.catalog
        async with catalog.connection() as connection:
            self._pass = Pass(since=await time_of_catalog(connection), min_age=self._limits.min_age)
            report.rows = await count_by_state(connection)
        self._doubt.may_be_missing = self._limits.of(report.rows.get("available", 0))
        await self._compare()
        doubt = self._doubt.reason()
        await self._examine_missing(mark=doubt is None and not report.dry_run)
        if doubt is not None:
            raise _Stopped(f"{doubt}; nothing was removed")
        if not report.dry_run:
            async with catalog.connection() as connection:
                await forget_candidates_unseen(connection, self._pass)
        if any(report.rows.values()):
            limits = self._limits
            await sweep_unfinished(self._custody, report, upload_age=limits.upload_age, silent_for=limits.silent_for)
        await self._remove_due()

    async def _compare(self) -> None:
        async with aclosing(stored_folders(self._custody.backend)) as folders:
            async for folder in folders:
                self._count(folder)
                if folder.files and not any(self._report.rows.values()):
                    raise _Stopped(
                        "the catalogue has no file at all, and the storage has some: it may be another database, or "
                        "one that was lost ('waybill catalog rebuild' restores it); nothing was removed"
                    )
                await self._compare_folder(folder)
        async with self._custody.catalog.connection() as connection:
            for file in await available_outside(connection, self._folders, limit=self._most_missing + 1):
                self._note_missing(file)

    def _count(self, folder: StoredFolder) -> None:
        report = self._report
        for one in folder.files.values():
            report.blobs += one.blob is not None
            report.manifests += one.manifest is not None
            report.stored_bytes += one.bytes
        self._files += len(folder.files)
        for one in folder.foreign:
            why = "a probe was interrupted" if one.path == PROBE_PATH else "no path that Waybill gives to a file"
            report.untouched.add(Finding(path=one.path, what="foreign", bytes=one.size, why=why))

    async def _compare_folder(self, folder: StoredFolder) -> None:
        if not folder.files:
            return
        self._folders.append(folder.name)
        # After the listing, because a row precedes its blob.
        async with self._custody.catalog.connection() as connection:
            states = await states_of_paths(connection, list(folder.files))
            available = await available_in(connection, folder.name)
        for file in available:
            stored = folder.files.get(file.location)
            if stored is None or stored.blob is None:
                self._note_missing(file)
        unknown: list[StoredFile] = []
        for path, stored in folder.files.items():
            if (state := states.get(path)) in _BUSY:
                self._report.untouched.add(Finding(path=path, what=state, bytes=stored.bytes, why=_BUSY[state]))
            elif state in {None, "deleted"}:
                unknown.append(stored)
        if unknown:
            await self._examine_unknown(unknown, {path for path, state in states.items() if state == "deleted"})

    def _note_missing(self, file: AvailableFile) -> None:
        self._doubt.newly_missing += not file.is_marked
        # Beyond what may be missing, none is looked at again.
        if len(self._without_blob) <= self._most_missing:
            self._without_blob.append(file)

    @property
    def _most_missing(self) -> int:
        return self._doubt.may_be_missing + self._limits.max_files

    async def _examine_unknown(self, unknown: Sequence[StoredFile], deleted: set[str]) -> None:
        catalog = self._custody.catalog
        async with catalog.connection() as connection:
            earlier = await candidates(connection, [one.path for one in unknown], self._pass)

        async def look(stored: StoredFile) -> tuple[StoredFile, str | None]:
            if stored.path in deleted:
                return stored, "deleted"
            seen = earlier.get(stored.path)
            known = seen.what if seen is not None and stored.blob else None
            return stored, _RESTORABLE if known == _RESTORABLE else await self._look(stored, known)

        found: dict[str, tuple[StoredFile, str]] = {}
        async with aclosing(bounded_map(_CONCURRENT_LOOKS, unknown, look)) as looks:
            async for stored, what in looks:
                if what is not None:
                    found[stored.path] = stored, what
        if not self._report.dry_run and found:
            async with catalog.connection() as connection:
                seen = {path: what for path, (_, what) in found.items()}
                earlier = await record_candidates(connection, seen, self._pass)
        for path, (stored, what) in sorted(found.items()):
            self._decide(stored, what, earlier.get(path))

    async def _look(self, stored: StoredFile, known: str | None) -> str | None:
        """Return what a file without a row is, which an earlier look has *known*; None when that is not known now."""
        if stored.blob is None:
            return "manifest"
        backend, keys, path = self._custody.backend, self._custody.keys, (stored.manifest or stored.blob).path
        try:
            # Its beginning is small, and is read of any number.
            if stored.manifest is None and not await in_thread(lambda _: has_inline_manifest(backend, path)):
                return "blob"
        except BlobMissing:
            return None  # deleted since it was listed
        except UnsafeKey:
            return "unreadable"
        if known == _OTHER_KEY:
            # Its key may be here now; but those that are new need not wait for these.
            if self._other_keys_left <= 0:
                return known
            self._other_keys_left -= 1
        elif self._manifests_left <= 0:
            why = f"{self._limits.max_files:,} manifests were read; the next sweep goes on"
            self._report.untouched.add(Finding(path=stored.path, what="blob", bytes=stored.bytes, why=why))
            return None
        else:
            self._manifests_left -= 1
        try:
            found = await in_thread(lambda _: read_manifest_of(backend, path, keys, accept_plain=True))
        except NoMatchingIdentity:
            return _OTHER_KEY
        except BlobMissing:
            return None  # deleted since it was listed
        except (MalformedManifest, AuthenticationFailed, UnsafeKey, ValueError, RecursionError):
            return "unreadable"
        if found is None:
            return "blob"
        return _RESTORABLE if found.stored_size == stored.blob.size else "unreadable"

    def _decide_other_key(self, stored: StoredFile, finding: Finding) -> None:
        """Leave alone what no key here opens; note one that is new, since a home that is at work adds such files."""
        age, since = self._limits.upload_age, finding.first_seen_at
        if since is None or since > self._pass.since - age or not stored.is_older_than(age):
            self._doubt.new_other_key = stored.path
        self._report.untouched.add(
            finding.because("no key that is here opens it: it is another home's, or its key was given up; move it away")
        )

    def _decide(self, stored: StoredFile, what: str, candidate: Candidate | None) -> None:
        report, age = self._report, format_duration(self._limits.min_age)
        since = None if candidate is None else candidate.first_seen_at
        finding = Finding(path=stored.path, what=what, bytes=stored.bytes, first_seen_at=since)
        if what == _OTHER_KEY:
            self._decide_other_key(stored, finding)
        elif what in _SPARED and not self._limits.restorable:
            report.untouched.add(finding.because(_SPARED[what]))
        elif candidate is None or not candidate.is_due:
            report.waiting.add(finding.because(f"two sweeps have to see it, {age} apart"))
        elif not stored.is_older_than(self._limits.min_age):
            report.waiting.add(finding.because(f"it was written less than {age} ago"))
        else:
            self._due_count += 1
            if len(self._due) < self._limits.max_files:
                self._due.append((stored, candidate))

    async def _examine_missing(self, *, mark: bool) -> None:
        """Look again at files that seemed to have no blob, by their rows of now; mark those that have none."""
        custody = self._custody

        async def look(file: AvailableFile) -> None:
            file_id = file.file_id
            try:
                artifact = await custody.get(file_id, even_expired=True)
            except ArtifactNotFound:
                return  # deleted meanwhile
            name = f"{file_id} {artifact.filename}"
            try:
                await in_thread(lambda _: custody.backend.size(artifact.location))
            except BlobMissing as damage:
                if mark:
                    await custody.mark_damaged(artifact, damage)
                finding = Finding(path=artifact.location, what="file", bytes=artifact.stored_size, why=name)
                self._report.missing.add(finding)
            except Permanent as error:
                why = f"{name}: {error.message}"
                self._report.untouched.add(Finding(path=artifact.location, what="file", why=why))

        async with aclosing(bounded_map(_CONCURRENT_LOOKS, self._without_blob, look)) as looks:
            async for _ in looks:
                pass

    async def _remove_due(self) -> None:
        allowed = self._limits.of(self._files)
        due = self._due[:allowed]
        for start in range(0, len(due), _BATCH_FILES):
            await self._remove(due[start : start + _BATCH_FILES])
        self._report.over_cap = self._due_count - len(due)
        if self._report.over_cap:
            flag = "--max-files" if allowed == self._limits.max_files else "--max-share"
            raise _Stopped(
                f"{self._report.over_cap:,} more files are due, and one sweep removes {allowed:,} of the "
                f"{self._files:,} that are stored; {flag} allows more"
            )

    async def _remove(self, batch: Sequence[tuple[StoredFile, Candidate]]) -> None:
        custody = self._custody
        paths = [stored.path for stored, _ in batch]
        async with custody.catalog.transaction() as connection:
            if not self._report.dry_run:
                await hold_for_sweep(connection)
            again = await candidates(connection, paths, self._pass)
            states = await states_of_paths(connection, paths)
            going = [
                (stored, again[stored.path])
                for stored, _ in batch
                if stored.path in again and states.get(stored.path) in {None, "deleted"}
            ]
            failed: dict[str, str] = {}
            if not self._report.dry_run:
                paths = [stored.path for stored, _ in going]
                failed = (await in_thread(lambda _: delete_many_stored(custody.backend, paths))).failed
                await forget_candidates(connection, [path for path in paths if path not in failed])
        for stored, candidate in going:
            finding = Finding(
                path=stored.path, what=candidate.what, bytes=stored.bytes, first_seen_at=candidate.first_seen_at
            )
            if (why := failed.get(stored.path)) is None:
                self._report.removed.add(finding)
            else:
                self._report.failed.add(finding.because(why))
