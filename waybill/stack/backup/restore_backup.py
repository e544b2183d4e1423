"""Make a new home of a backup: the database to its last archived moment or an earlier one, then files and keys.

Owns the order: the base backup is verified and put in place, Postgres replays the archived log and is promoted, and
then every file that a row calls available is copied back, by its hash. One that the repository does not have is marked
as damaged in the catalogue, so that no reader is promised it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from blocks.catalog import Catalog
from blocks.catalog.maintenance import mark_damaged
from blocks.catalog.migrate import known_versions
from blocks.custody.manifest import manifest_path
from blocks.errors import (
    ArtifactNotFound,
    CatalogUnavailable,
    ContentMismatch,
    InvalidOptions,
    StackUnavailable,
    UnsafeKey,
    WaybillError,
)
from blocks.postgres import connect
from blocks.runtime.atomic_file import write_atomically
from blocks.runtime.threads import in_thread
from blocks.settings import Settings
from blocks.storage import Backend, Expected, open_backend, read_chunks
from blocks.storage.blob_path import check_blob_path
from waybill.services.backups import Backup, Repository
from waybill.stack.account import ServerAccount, server_account
from waybill.stack.backup.programs import run, verify_base_backup
from waybill.stack.backup.stored_rows import pages_of_stored_files
from waybill.stack.home import log_tail
from waybill.stack.postgres import EmbeddedPostgres
from waybill.stack.postgres_cluster import postgres_binaries

_WAL_FOLDER = "restored-wal"
_POLL_SECONDS = 0.1

OnStep = Callable[[str], None]


@dataclass(kw_only=True)
class Restored:
    """The backup that was restored, how many files were copied, and those that are not in the repository."""

    backup: Backup
    files: int = 0
    bytes: int = 0
    missing: list[str] = field(default_factory=list[str])


def choose_backup(repository: Repository, at: datetime | None, on_unreadable: OnStep = lambda _: None) -> Backup:
    """Return the newest backup that ended before *at*. Reads only.

    *on_unreadable* is called for each backup that cannot be read. Raises `InvalidOptions` when there is none that fits.
    """
    if repository.cluster is None:
        raise InvalidOptions(f"{repository.root} is no backup repository; 'waybill backup' makes one")
    unreadable: list[str] = []
    backups = repository.backups(unreadable.append)
    for one in unreadable:
        on_unreadable(one)
    if not backups:
        raise InvalidOptions("; ".join([f"{repository.root} holds no complete backup", *unreadable]))
    fitting = [one for one in backups if at is None or one.ended_at <= at]
    if not fitting:
        first = backups[0].ended_at.isoformat(timespec="seconds")
        raise InvalidOptions(f"the oldest backup in {repository.root} is of {first}; name a later time with --at")
    chosen = fitting[-1]
    installed = installed_major()
    if chosen.postgres_major != installed:
        raise InvalidOptions(
            f"the backup is of Postgres {chosen.postgres_major}, and {installed} is installed: restore it with the "
            f"Waybill {chosen.waybill_version} that made it"
        )
    if chosen.schema_version not in known_versions():
        raise InvalidOptions(
            f"the backup has schema version {chosen.schema_version}, which this Waybill does not know: restore it with "
            f"Waybill {chosen.waybill_version} or a newer one"
        )
    return chosen


def restore_database(
    home: Path, repository: Repository, backup: Backup, *, target: datetime | None, on_step: OnStep
) -> datetime:
    """Fill *home*, which `restoring` has made, with its keys and its database; Postgres is stopped at the end.

    *target* is that of `recovery_target`. Return when the last change before it was made; without one, the end of the
    backup. Raises `StackUnavailable`.
    """
    folder = repository.folder(backup.backup_id)
    on_step("verifying the backup of the database")
    verify_base_backup(folder / "postgres")
    for path in sorted((folder / "home").iterdir()):
        write_atomically(home / path.name, path.read_bytes())
    on_step("copying the database")
    account = server_account(home, postgres_binaries())
    wal = home / _WAL_FOLDER
    _copy_tree(repository.wal / backup.archive, wal, account, first=backup.first_wal)
    _copy_tree(folder / "postgres", home / "postgres", account)
    _configure(home / "postgres", wal, target, account)
    on_step("replaying the log")
    last_change = _recover(home)
    shutil.rmtree(wal)
    return last_change or backup.ended_at


async def restore_backup(settings: Settings, repository: Repository, backup: Backup, *, on_step: OnStep) -> Restored:
    """Copy the files of the restored catalogue back, on the running stack; mark those that the repository lacks."""
    restored = Restored(backup=backup)
    if not backup.files_are_included:
        return restored
    on_step("copying files")
    backend = open_backend(settings.resolved_storage_url, settings.storage_options)
    async with Catalog.open(settings.required_database_url) as catalog:
        async for rows in pages_of_stored_files(catalog):
            wrong = await in_thread(lambda check, rows=rows: _restore_page(backend, repository, rows, restored, check))
            for file_id, why in wrong:
                await _mark(catalog, file_id, why, restored)
    return restored


def installed_major() -> int:
    """Return the major version of the installed Postgres, from the file that its programs come with."""
    return int(run("postgres", "--version").split()[-1].split(".")[0])


def _copy_tree(source: Path, target: Path, account: ServerAccount | None, *, first: str | None = None) -> None:
    """Copy a folder for Postgres' account; of an archive, segments from *first* on and histories of timelines."""
    target.mkdir(mode=0o700)
    for path in sorted(source.iterdir()):
        # Segments sort by their names behind the timeline.
        if first is not None and "." not in path.name and path.name[8:] < first[8:]:
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name, symlinks=True)
        else:
            # The last segment is received in parts; Postgres reads it up to where it ends.
            shutil.copy2(path, target / path.name.removesuffix(".partial"))
    if account is not None:
        for folder, _, files in os.walk(target):
            for name in ("", *files):
                os.chown(Path(folder) / name if name else folder, account.uid, account.gid, follow_symlinks=False)


def _configure(data: Path, wal: Path, target: datetime | None, account: ServerAccount | None) -> None:
    """Let the server replay the log up to *target* and then be a primary server of its own."""
    command = f"cp {shlex.quote(str(wal)).replace('%', '%%')}/%f %p"
    lines = [
        ("restore_command", command),
        ("recovery_target_action", "promote"),
        ("recovery_target_timeline", "latest"),
    ]
    if target is not None:
        lines.append(("recovery_target_time", target.isoformat()))
    text = "".join(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in lines)
    with (data / "postgresql.auto.conf").open("a") as configuration:
        configuration.write(text)
    signal_file = data / "recovery.signal"
    signal_file.touch(mode=0o600)
    if account is not None:
        os.chown(signal_file, account.uid, account.gid)


def _recover(home: Path) -> datetime | None:
    """Replay the log; return when the last change in it was committed, None for a log without any."""
    postgres = EmbeddedPostgres(home)
    try:
        postgres.ensure(lambda _: None)
        _wait_until_promoted(postgres, home)
        with connect(postgres.url("postgres"), autocommit=True) as connection:
            row = connection.execute("select pg_last_xact_replay_timestamp()").fetchone()
            for name in (
                "restore_command",
                "recovery_target_action",
                "recovery_target_timeline",
                "recovery_target_time",
            ):
                connection.execute(f"alter system reset {name}".encode())
            connection.execute("checkpoint")
        return row[0] if row is not None else None
    except WaybillError as exc:
        raise StackUnavailable(
            f"the log was not replayed, and {home} is removed again: {exc.message}\n  Free some space where it says "
            "so; otherwise the archive is damaged: name an earlier moment with --at"
        ) from exc
    finally:
        postgres.stop()


def _wait_until_promoted(postgres: EmbeddedPostgres, home: Path) -> None:
    """Wait as long as it replays: an archive of weeks takes minutes. Raises `StackUnavailable` when it ends."""
    while True:
        try:
            with connect(postgres.url("postgres"), autocommit=True) as connection:
                row = connection.execute("select pg_is_in_recovery()").fetchone()
            if row is not None and not row[0]:
                return
        except CatalogUnavailable:
            if not postgres.is_running():
                tail = log_tail(home, "postgres")
                raise StackUnavailable(f"Postgres ended while it replayed the log, which ends:{tail}") from None
        time.sleep(_POLL_SECONDS)


def _restore_page(
    backend: Backend, repository: Repository, rows: list[dict[str, Any]], restored: Restored, check: Callable[[], None]
) -> list[tuple[UUID, str]]:
    """Copy the files of *rows*; return those that could not be, with the reason."""
    wrong: list[tuple[UUID, str]] = []
    for row in rows:
        check()
        path = row["location"]
        try:
            # Before anything is opened: a row may name a path outside of the repository.
            check_blob_path(path)
            _restore_one(backend, repository, path, Expected(size=row["stored_size"], sha256=row["stored_sha256"]))
            if row["manifest"] == "separate":
                _restore_one(backend, repository, manifest_path(path), None)
        except UnsafeKey as error:
            wrong.append((row["file_id"], f"its row has no place in the storage: {error.message}"))
        except FileNotFoundError:
            wrong.append((row["file_id"], why_missing(row, restored.backup)))
        except ContentMismatch as error:
            wrong.append((row["file_id"], f"its copy in the backup is damaged: {error.message}"))
        except OSError as error:
            wrong.append((row["file_id"], f"its copy in the backup cannot be read: {error.strerror}"))
        else:
            restored.files += 1
            restored.bytes += row["stored_size"]
    return wrong


def why_missing(row: dict[str, Any], backup: Backup) -> str:
    """Return why the repository lacks the file of *row*, which was available at the restored moment; pure."""
    if row["damage"] is not None:
        return f"it was damaged or missing already before the backup: {row['damage']}"
    if row["created_at"] >= backup.began_at:
        return "it is not in the backup: it was stored after it, and no later backup has it"
    return (
        "it is not in the backup: it was missing or damaged when that was made, or a rotation of the storage key has "
        "moved it since"
    )


def _restore_one(backend: Backend, repository: Repository, path: str, expected: Expected | None) -> None:
    with (repository.files / path).open("rb") as source:
        backend.publish(path, read_chunks(source), expected=expected, replace=True)


async def _mark(catalog: Catalog, file_id: UUID, why: str, restored: Restored) -> None:
    async with catalog.connection() as connection:
        try:
            artifact = await catalog.get(connection, file_id, even_expired=True)
        except ArtifactNotFound:
            return
        await mark_damaged(connection, artifact, why)
    restored.missing.append(f"{file_id} {artifact.filename}: {why}")
