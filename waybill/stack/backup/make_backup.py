"""Make one backup of a home while everything runs: Postgres, then the log, then stored files, then keys.

The database first: a row in it announces its file, so every file that the base backup knows as available is there
afterwards, unless it was deleted meanwhile, which the log says too. A backup is made under another name and renamed
when it is complete and verified; an interrupted one is removed by the next and leaves the earlier ones as they are.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from blocks.catalog.migrate import installed_version
from blocks.custody.lost_key import refusing_lost_key
from blocks.custody.manifest import is_manifest_path
from blocks.errors import InvalidOptions, StackUnavailable, StorageFull
from blocks.keys import load_storage_keys
from blocks.postgres import connect
from blocks.runtime.atomic_file import sync_folder, write_atomically
from blocks.runtime.file_lock import open_lock_file, try_lock
from blocks.settings import Settings
from blocks.settings.settings import settings_file
from blocks.storage import open_backend
from waybill.services.backups import PARTIAL_SUFFIX, SLOT, Backup, BackupNote, Repository, read_note, write_note
from waybill.stack.backup.copy_files import Copied, copy_files
from waybill.stack.backup.programs import (
    base_backup,
    receive_wal,
    remove_older_wal,
    run_watched,
    verify_base_backup,
)
from waybill.stack.backup.wal_receiver import end_receivers, renew_slot, slot_is_intact
from waybill.stack.processes import end, find

# The receiver of `waybill up` reports every ten seconds at the latest; a slow disk takes some of its time.
_RECEIVE_SECONDS = 120.0
_POLL_SECONDS = 0.2
# It removes what it has copied.
_STOP_SECONDS = 10.0

_CLUSTER = "select system_identifier::text from pg_control_system()"
_NOW = "select clock_timestamp(), current_setting('server_version_num')::int / 10000"
_RECEIVED = "select active, restart_lsn >= %s::pg_lsn from pg_replication_slots where slot_name = %s"
_LABEL = re.compile(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)$", re.MULTILINE)

OnStep = Callable[[str], None]


@dataclass(kw_only=True)
class MadeBackup:
    """The backup, how many of its files are new in the repository, files that could not be copied, and other backups
    that cannot be read.

    The backup counts manifests as files, as the repository does; *stored_files* are those without.
    """

    backup: Backup
    stored_files: int = 0
    new_files: int = 0
    new_bytes: int = 0
    problems: list[str] = field(default_factory=list[str])
    unreadable: list[str] = field(default_factory=list[str])
    kept: int = 0
    removed: int = 0


async def make_backup(
    settings: Settings, root: Path, *, database_url: str, keep: int | None, on_step: OnStep
) -> MadeBackup:
    """Add a backup of the running home to the repository *root*; keep the *keep* newest (None: all).

    *root* is an absolute path outside of the home; *database_url* is that of the embedded cluster. Raises
    `InvalidOptions` for a folder that cannot be used, `InvalidSettings` when stored files need a storage key that is
    missing, `StackUnavailable` and `StorageFull`.
    """
    _require_storage_key(settings)
    repository = Repository(root)
    with _os_errors(root):
        _claim(repository, _read_cluster(database_url))
        with _only_backup(root):
            return await _make(settings, repository, database_url, keep, on_step)


def _require_storage_key(settings: Settings) -> None:
    """Refuse a backup whose files nothing would open; *keep* would go on to remove the ones that hold the key."""
    missing = load_storage_keys(settings, may_create=False).missing
    if missing is not None:
        backend = open_backend(settings.resolved_storage_url, settings.storage_options)
        refusing_lost_key(settings, backend)(missing)


async def _make(
    settings: Settings, repository: Repository, database_url: str, keep: int | None, on_step: OnStep
) -> MadeBackup:
    left = _remove_partial(repository)
    note = _begin_archive(settings.home, repository, database_url)
    began_at, major = _now(database_url)
    # Sorted by time for people; the rest keeps backups of the same second apart.
    backup_id = f"{began_at:%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"
    folder = repository.partial_folder(backup_id)
    folder.mkdir(mode=0o700)
    on_step("copying the database")
    base_backup(database_url, folder / "postgres")
    verify_base_backup(folder / "postgres")
    ended_at, _ = _now(database_url)
    on_step("copying files")
    copied = Copied()
    is_local = "://" not in settings.resolved_storage_url
    if is_local:
        await copy_files(settings, repository, copied)
    lines = "".join(f"{sha256}  files/{path}\n" for path, sha256 in sorted(copied.sums.items()))
    write_atomically(folder / "files.sha256", lines.encode())
    _copy_home(settings, folder / "home")
    on_step("archiving the log")
    _receive(database_url, note.wal_folder)
    with connect(database_url) as connection:
        schema = installed_version(connection) or ""
    backup = Backup(
        backup_id=backup_id,
        began_at=began_at,
        ended_at=ended_at,
        postgres_major=major,
        schema_version=schema,
        waybill_version=metadata.version("waybill"),
        archive=note.archive,
        first_wal=_first_wal(folder / "postgres"),
        files_are_included=is_local,
        files=len(copied.sums),
        bytes=copied.bytes,
    )
    write_atomically(folder / "backup.json", json.dumps(backup.as_json()).encode())
    folder.rename(repository.folder(backup_id))
    sync_folder(repository.backups_folder)
    write_note(settings.home, BackupNote(repository=repository.root, archive=note.archive, last_backup_at=ended_at))
    unreadable: list[str] = []
    removed = 0
    if keep is None:
        repository.backups(unreadable.append)
    else:
        removed = prune(repository, keep, unreadable)
    return MadeBackup(
        backup=backup,
        stored_files=sum(not is_manifest_path(path) for path in copied.sums),
        new_files=copied.new_files,
        new_bytes=copied.new_bytes,
        problems=copied.problems,
        unreadable=[*left, *unreadable],
        kept=len(repository.backups()),
        removed=removed,
    )


def _claim(repository: Repository, cluster: str) -> None:
    known = repository.cluster
    if known is None:
        if repository.root.is_dir() and any(repository.root.iterdir()):
            raise InvalidOptions(f"{repository.root} holds something else; name an empty folder, or a new one")
        repository.begin(cluster)
    elif known != cluster:
        raise InvalidOptions(
            f"{repository.root} holds the backups of another home; each home needs a folder of its own"
        )


@contextmanager
def _only_backup(root: Path) -> Generator[None]:
    descriptor = open_lock_file(root / ".lock")
    try:
        if not try_lock(descriptor):
            raise InvalidOptions(f"another backup to {root} is under way; let it finish")
        yield
    finally:
        os.close(descriptor)


def _remove_partial(repository: Repository) -> list[str]:
    """Remove what killed backups have left, with programs that still run; return what cannot be removed."""
    for process in find(f"{repository.backups_folder}/."):
        end(process, (signal.SIGTERM, _STOP_SECONDS))
    for folder in repository.backups_folder.glob(f".*{PARTIAL_SUFFIX}"):
        shutil.rmtree(folder, ignore_errors=True)
    for path in repository.files.rglob(".*.partial"):
        path.unlink(missing_ok=True)
    left = repository.backups_folder.glob(f".*{PARTIAL_SUFFIX}")
    return [f"{folder}, which an interrupted backup has left, cannot be removed" for folder in left]


def _begin_archive(home: Path, repository: Repository, database_url: str) -> BackupNote:
    """Return the note of this home with an archive that has no gap; begin a new one where the last one has."""
    note = read_note(home)
    is_known = note is not None and note.repository == repository.root and note.wal_folder.is_dir()
    if note is not None and is_known and slot_is_intact(database_url):
        return note
    if note is not None:
        end_receivers(note)
    renew_slot(database_url)
    last = note.last_backup_at if note is not None and is_known else None
    fresh = BackupNote(repository=repository.root, archive=uuid4().hex[:12], last_backup_at=last)
    fresh.wal_folder.mkdir(mode=0o700, parents=True)
    # From here on `waybill up` receives the log, also if this backup is interrupted.
    write_note(home, fresh)
    return fresh


def _receive(database_url: str, archive: Path) -> None:
    """Wait until the archive has the log up to now, received by `waybill up` or here. Raises `StackUnavailable`."""
    with connect(database_url, autocommit=True) as connection:
        row = connection.execute("select pg_current_wal_flush_lsn()::text").fetchone()
        target = str(row[0]) if row else ""
        deadline = time.monotonic() + _RECEIVE_SECONDS
        failure = ""
        while time.monotonic() < deadline:
            found = connection.execute(_RECEIVED, [target, SLOT]).fetchone()
            if found is not None and found[1]:
                return
            if found is not None and not found[0]:
                done = run_watched(receive_wal(database_url, archive, until=target))
                if done.returncode == 0:
                    return
                failure = done.stderr.strip()[-1000:]
            time.sleep(_POLL_SECONDS)
    raise StackUnavailable(
        f"the log was not archived within {_RECEIVE_SECONDS:.0f} s{': ' if failure else ''}{failure}"
    )


def _copy_home(settings: Settings, target: Path) -> None:
    """Copy keys and settings, by the names that they have in a home."""
    target.mkdir(mode=0o700)
    paths = {
        "storage-identity": settings.resolved_storage_identity_file,
        "webhook-identity": settings.resolved_webhook_identity_file,
        "link-keys": settings.resolved_link_keys_file,
        "prefect-api-auth": settings.home / "prefect-api-auth",
        "api-key": settings.home / "api-key",
        # A Prefect server that several homes use knows this one's runs by it.
        "home-id": settings.home / "home-id",
        # Not by its own name: it holds for the folder that it was found in, and is put back by a person.
        "waybill.toml": settings_file(),
    }
    for name, path in paths.items():
        if path is not None and path.is_file():
            write_atomically(target / name, path.read_bytes())


def prune(repository: Repository, keep: int, unreadable: list[str]) -> int:
    """Remove all but the *keep* newest backups, and the log and files that only they need; return how many.

    While a backup cannot be read, which is added to *unreadable*, log and files stay: a person may mend it.
    """
    backups = repository.backups(unreadable.append)
    kept, outdated = backups[-keep:], backups[:-keep]
    needed: set[str] = set()
    for backup in kept:
        try:
            needed |= {path for path, _ in repository.listed_files(backup.backup_id)}
        except (OSError, ValueError) as exc:
            folder = repository.folder(backup.backup_id)
            unreadable.append(f"files.sha256 of the backup {folder} cannot be read ({type(exc).__name__})")
    for backup in outdated:
        # Renamed first: a backup that is removed half is none.
        doomed = repository.partial_folder(backup.backup_id)
        repository.folder(backup.backup_id).rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    if unreadable:
        return len(outdated)
    for archive in [one for one in repository.wal.iterdir() if one.is_dir()]:
        first = min((one.first_wal for one in kept if one.archive == archive.name), default=None)
        if first is None:
            shutil.rmtree(archive)
        else:
            remove_older_wal(archive, first)
    for path in [one for one in repository.files.rglob("*") if one.is_file()]:
        if path.relative_to(repository.files).as_posix() not in needed:
            path.unlink()
    return len(outdated)


def _first_wal(base: Path) -> str:
    found = _LABEL.search((base / "backup_label").read_text())
    if found is None:
        raise StackUnavailable("the base backup does not say where its log begins")
    return found[1]


def _read_cluster(database_url: str) -> str:
    with connect(database_url) as connection:
        row = connection.execute(_CLUSTER).fetchone()
    return str(row[0]) if row else ""


def _now(database_url: str) -> tuple[datetime, int]:
    """Return Postgres' time and major version."""
    with connect(database_url) as connection:
        row = connection.execute(_NOW).fetchone()
    if row is None:
        raise StackUnavailable("Postgres does not say what time it is")
    return row[0], int(row[1])


@contextmanager
def _os_errors(root: Path) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        what = f"cannot use {root} for backups: {exc.strerror or type(exc).__name__}"
        if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull(f"{what}; free some space there, or keep fewer with --keep") from exc
        raise InvalidOptions(f"{what}; name a folder that this account can write to") from exc
