"""The sweep of a home: its storage (`blocks.custody.sweep`), and the scratch folders that dead processes have left.

A scratch folder belongs to a run, which is known by its lock, or to an export. It goes when its run no longer lives and
nothing in it was written for a while. Anything else in the scratch folder is left alone and reported.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from blocks.custody import Custody
from blocks.custody.sweep import SweepLimits, sweep
from blocks.custody.sweep_report import Finding, SweepReport
from blocks.runs.run_lock import run_locks
from blocks.settings import Settings

# Exports are written in a folder of their own: blocks of a file that may wait for a query for hours.
_EXPORTS = "exports"


async def sweep_home(
    custody: Custody, settings: Settings, *, limits: SweepLimits | None = None, dry_run: bool = False
) -> SweepReport:
    """Sweep the storage and the scratch folder of this home; see `blocks.custody.sweep.sweep`.

    Without *limits*, a writer that is silent for the retention period ``failed`` is given up.
    """
    limits = limits or SweepLimits(silent_for=settings.retention.period("failed"))
    report = await sweep(custody, limits=limits, dry_run=dry_run)
    await asyncio.to_thread(_sweep_scratch, settings, limits, report)
    return report


def _sweep_scratch(settings: Settings, limits: SweepLimits, report: SweepReport) -> None:
    # Listed before the locks: a run takes its lock first.
    found = list(_entries(settings.scratch))
    locks = run_locks(settings.home)
    for path in found:
        run_id = _run_id(path.name)
        if path.name == _EXPORTS:
            for export in _entries(path):
                _remove(export, "export", limits.upload_age, report)
        elif run_id is None:
            report.untouched.add(Finding(path=str(path), what="scratch", why="no run has made it"))
        elif not locks.get(run_id, False):
            _remove(path, "scratch", limits.silent_for, report)


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError, NotADirectoryError):
        yield from sorted(folder.iterdir())


def _run_id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None


def _remove(path: Path, what: str, older_than: timedelta, report: SweepReport) -> None:
    try:
        written_at, size = _last_written(path)
    except FileNotFoundError:
        return  # its process has removed it
    finding = Finding(path=str(path), what=what, bytes=size)
    if time.time() - written_at < older_than.total_seconds():
        report.waiting.add(finding.because("something in it was written a short time ago"))
        return
    try:
        if not report.dry_run:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        report.failed.add(finding.because(f"cannot delete it: {error.strerror}"))
    else:
        report.removed.add(finding)


def _last_written(path: Path) -> tuple[float, int]:
    """Return when anything in *path* was last written, in seconds since the epoch, and its bytes."""
    status = path.lstat()
    latest, size = status.st_mtime, 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    for folder, _, names in os.walk(path):
        latest = max(latest, Path(folder).lstat().st_mtime)
        for name in names:
            with suppress(FileNotFoundError):
                inside = Path(folder, name).lstat()
                latest, size = max(latest, inside.st_mtime), size + inside.st_size
    return latest, size
