"""How far an archived log reaches: the moments that a repository can be restored to.

Postgres stops a replay before the first commit that is later than its target, and gives up when the log has none, also
where nothing was committed until then (``findings/recovery_target_after_last_commit.sh``). `pg_waldump` reads the
commits of a segment, also of the last one, which is received in parts.
"""

from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from blocks.errors import InvalidOptions
from waybill.services.backups import Backup, Repository
from waybill.stack.backup.programs import run_watched
from waybill.stack.postgres_cluster import postgres_binaries

_SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?")
_COMMITTED_AT = re.compile(r"desc: (?:COMMIT|ABORT).*?(\d{4,}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC", re.MULTILINE)


def recovery_target(repository: Repository, backup: Backup, at: datetime) -> datetime | None:
    """Return the target with which Postgres restores *at* from *backup*; None for the whole of its log. Reads only.

    Raises `InvalidOptions`, with the moments that are possible, when the log ends before *at*.
    """
    archive = repository.wal / backup.archive
    try:
        last = last_commit(archive)
        if last is not None and at < last:
            return at
        if at <= _end(repository, backup.archive, last):
            return None  # nothing was committed between the last commit and this moment
        possible = _possible_moments(repository)
    except OSError as exc:
        raise InvalidOptions(f"the archived log {archive} cannot be read: {exc.strerror}") from exc
    raise InvalidOptions(
        f"nothing of {at.isoformat()} is archived: leave --at out to restore the last moment, or name one that is "
        f"possible, {possible}"
    )


def last_commit(archive: Path) -> datetime | None:
    """Return the time of the last commit in *archive*; None where there is none. Raises `OSError`."""
    segments = [path for path in archive.iterdir() if _SEGMENT.fullmatch(path.name)]
    for path in sorted(segments, key=lambda path: path.name, reverse=True):
        if found := _commits(path):
            return max(found)
    return None


def _end(repository: Repository, archive: str, last: datetime | None) -> datetime:
    """Return how far *archive* reaches: to its last commit, and to its last backup, which waits for the log."""
    ends = [one.ended_at for one in repository.backups() if one.archive == archive]
    return max(*ends, last) if last is not None else max(ends)


def _possible_moments(repository: Repository) -> str:
    backups = sorted(repository.backups(), key=lambda one: (one.archive, one.ended_at))
    spans: list[tuple[datetime, datetime]] = []
    for archive, of_archive in groupby(backups, key=lambda one: one.archive):
        first, last = next(of_archive).ended_at, last_commit(repository.wal / archive)
        spans.append((first, _end(repository, archive, last)))
    return ", or ".join(f"from {first.isoformat()} to {last.isoformat()}" for first, last in sorted(spans))


def _commits(segment: Path) -> list[datetime]:
    name = segment.name.removesuffix(".partial")
    with tempfile.TemporaryDirectory(prefix="waybill-log-") as folder:
        # The program knows a segment by its name.
        (Path(folder) / name).symlink_to(segment)
        # It fails at the end of a segment that is not full, after it has printed what is there.
        done = run_watched([str(postgres_binaries() / "pg_waldump"), "--rmgr=Transaction", "-p", folder, name, name])
    found: list[datetime] = []
    for text in _COMMITTED_AT.findall(done.stdout):
        try:
            found.append(datetime.fromisoformat(text).replace(tzinfo=UTC))
        except ValueError:  # the clock was far off
            continue
    return found
