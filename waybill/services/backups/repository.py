"""A backup repository: one folder, for its owner alone, that holds the backups of one home.

repository.json              the format, and which cluster the backups are of
backups/ID/backup.json       one backup; the folder appears whole, by a rename, or not at all
backups/ID/postgres/         the base backup of Postgres, with its own manifest
backups/ID/home/             keys and settings of the home
backups/ID/files.sha256      the stored files of that moment, as ``sha256sum -c`` reads them in the repository
files/PATH                   stored files by their blob paths, shared by all backups: a path is never used twice
wal/ARCHIVE/                 the write-ahead log without a gap; a new archive begins where the log was interrupted
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import AwareDatetime, ConfigDict, StringConstraints, TypeAdapter

from blocks.errors import InvalidOptions
from blocks.runtime.atomic_file import write_atomically

FORMAT = 1
# The replication slot that makes Postgres keep its log until the archive has it.
SLOT = "waybill_backup"
PARTIAL_SUFFIX = ".partial"
_NOTE = "backup.json"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """One backup. It can be restored to any moment from *ended_at* to where its *archive* ends, *first_wal* first."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    backup_id: str
    began_at: AwareDatetime
    ended_at: AwareDatetime
    postgres_major: int
    schema_version: str
    waybill_version: str
    archive: Annotated[str, StringConstraints(pattern="^[0-9a-f]+$")]
    first_wal: Annotated[str, StringConstraints(pattern="^[0-9A-F]{24}$")]
    files_are_included: bool
    files: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "began_at": self.began_at.isoformat(), "ended_at": self.ended_at.isoformat()}


_BACKUP = TypeAdapter(Backup)


@dataclass(frozen=True, kw_only=True)
class BackupNote:
    """What a home knows of its backups: the *repository*, the *archive* that its log goes to, and the last backup."""

    repository: Path
    archive: str
    last_backup_at: datetime | None

    @property
    def wal_folder(self) -> Path:
        return Repository(self.repository).wal / self.archive


class Repository:
    """The repository in the folder *root*, which need not exist."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.backups_folder = root / "backups"
        self.files = root / "files"
        self.wal = root / "wal"

    @property
    def cluster(self) -> str | None:
        """The system identifier of the cluster that the backups are of; None where there is no repository.

        Raises `InvalidOptions` for a folder that holds something else, or a repository of a newer format.
        """
        path = self.root / "repository.json"
        try:
            found = cast("dict[str, Any]", json.loads(path.read_bytes()))
            found_format, cluster = int(found["waybill_backups"]), str(found["cluster"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise InvalidOptions(f"{path} cannot be read ({type(exc).__name__}): this is no backup repository") from exc
        if found_format != FORMAT:
            raise InvalidOptions(
                f"{path} has the format {found_format}, and this Waybill knows {FORMAT}; use a newer one"
            )
        return cluster

    def begin(self, cluster: str) -> None:
        """Make the repository, for its owner alone. Raises `OSError`."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for folder in (self.backups_folder, self.files, self.wal):
            folder.mkdir(mode=0o700, exist_ok=True)
        text = json.dumps({"waybill_backups": FORMAT, "cluster": cluster})
        write_atomically(self.root / "repository.json", text.encode())

    def backups(self, on_unreadable: Callable[[str], None] = lambda _: None) -> list[Backup]:
        """Return the complete backups, oldest first.

        One that cannot be read is left out; *on_unreadable* is called with a sentence that names it. Raises
        `InvalidOptions` when their folder cannot be read.
        """
        found: list[Backup] = []
        try:
            folders = sorted(self.backups_folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise InvalidOptions(f"{self.backups_folder} cannot be read: {exc.strerror}") from exc
        for folder in folders:
            if folder.name.startswith("."):
                continue
            try:
                found.append(_read_backup(folder))
            except (OSError, ValueError, TypeError, RecursionError) as exc:
                on_unreadable(f"the backup {folder} cannot be read ({type(exc).__name__}); mend it or move it away")
        return sorted(found, key=lambda backup: backup.ended_at)

    def folder(self, backup_id: str) -> Path:
        """Return the folder of a complete backup."""
        return self.backups_folder / backup_id

    def partial_folder(self, backup_id: str) -> Path:
        """Return the folder that a backup is made in."""
        return self.backups_folder / f".{backup_id}{PARTIAL_SUFFIX}"

    def listed_files(self, backup_id: str) -> Iterator[tuple[str, str]]:
        """Yield blob path and sha256 of every file that the backup lists."""
        with (self.folder(backup_id) / "files.sha256").open(encoding="utf-8") as lines:
            for line in lines:
                sha256, _, name = line.rstrip("\n").partition("  ")
                yield name.removeprefix("files/"), sha256


def _read_backup(folder: Path) -> Backup:
    backup = _BACKUP.validate_python(json.loads((folder / "backup.json").read_bytes()))
    if backup.backup_id != folder.name:
        raise ValueError("it is that of another folder")
    # Both are there from the beginning: what is left without them is none.
    (folder / "files.sha256").stat()
    (folder / "postgres").stat()
    return backup


def read_note(home: Path) -> BackupNote | None:
    """Return what *home* knows of its backups; None without backups. Raises `InvalidOptions` for a damaged note."""
    path = home / _NOTE
    try:
        found = cast("dict[str, Any]", json.loads(path.read_bytes()))
        last = found["last_backup_at"]
        return BackupNote(
            repository=Path(found["repository"]),
            archive=str(found["archive"]),
            last_backup_at=datetime.fromisoformat(last) if last is not None else None,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as exc:
        raise InvalidOptions(
            f"{path} cannot be read ({type(exc).__name__}); remove it and run: waybill backup PATH"
        ) from exc


def write_note(home: Path, note: BackupNote) -> None:
    """Write *note* into *home*. Raises `OSError`."""
    last = note.last_backup_at.isoformat() if note.last_backup_at is not None else None
    text = json.dumps({"repository": str(note.repository), "archive": note.archive, "last_backup_at": last})
    write_atomically(home / _NOTE, text.encode())


def parse_time(text: str) -> datetime:
    """Return the moment that *text* names in ISO 8601; without a zone it is this machine's time.

    Raises `InvalidOptions`.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as exc:
        raise InvalidOptions(f"{text!r} is no time; write it as 2026-11-29T10:15:00+00:00") from exc
