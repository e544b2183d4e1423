"""Checks of the home itself, without any server: rights, disks, limits, processes, locks of runs, scratch."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import InvalidSettings, StackUnavailable
from blocks.keys import identities_of_its_own
from blocks.runs.home_id import HOME_ID_FILE, home_id
from blocks.runs.run_lock import run_locks
from blocks.runtime.in_words import counted
from blocks.settings import Settings
from waybill.services.doctor.findings import Findings
from waybill.services.unfinished_restore import UNFINISHED_RESTORE

# A batch of documents needs some hundred megabytes, and Postgres stops when it cannot write its log.
_LOW_BYTES = 1024**3
_FULL_BYTES = 200 * 1024**2
# The gateway holds a connection for each client, and a run some pipes for each worker.
_FEW_FILES = 1024
_NEARLY_ALL = 0.8


@dataclass(frozen=True, kw_only=True)
class KnownProcess:
    """A process that the home has a record of. *descriptors* are its open files, None where that cannot be read."""

    name: str
    pid: int
    is_running: bool
    descriptors: int | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class HomeProcesses:
    """The processes of a home: recorded ones, others as command lines, and whether `waybill up` runs."""

    recorded: Sequence[KnownProcess]
    leftovers: Sequence[str]
    up_is_running: bool


def check_home(settings: Settings, found: Findings) -> None:
    """Examine rights and owner of the home, the disks and the limits. Changes nothing."""
    home = settings.home
    with found.examining("home"):
        if (home / UNFINISHED_RESTORE).exists():
            found.problem("home", "its restore is not finished", "let it end, or run 'waybill restore' again")
        status = home.stat()
        mode = stat.S_IMODE(status.st_mode)
        # Run by root, the home may be passed by its group, which the account of Postgres joins.
        allowed = stat.S_IRWXU | (stat.S_IXGRP if os.geteuid() == 0 else 0)
        if mode & ~allowed & (stat.S_IRWXG | stat.S_IRWXO):
            found.problem("home", f"other accounts have rights to {home} (mode {mode:04o})", f"run: chmod go= {home}")
        if status.st_uid != os.geteuid():
            found.problem(
                "home",
                f"{home} belongs to the account {status.st_uid}, and this one is {os.geteuid()}",
                "run Waybill as the account that owns the home",
            )
        elif not os.access(home, os.R_OK | os.W_OK | os.X_OK):
            found.problem("home", f"this account cannot write to {home}", f"run: chmod u=rwx {home}")
        if os.path.lexists(home / HOME_ID_FILE):
            try:
                home_id(home)
            except StackUnavailable as error:
                found.problem("home", error.message, "or restore it from a backup; until then no run starts")
    with found.examining("disk"):
        places = {home}
        if "://" not in settings.resolved_storage_url:
            places.add(Path(settings.resolved_storage_url))
        for place in sorted(places):
            _check_disk(place, found)
    with found.examining("limits"):
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
            found.warning("limits", f"a process may open only {soft} files", f"raise it: ulimit -n {_FEW_FILES}")


def check_key_files(settings: Settings, found: Findings) -> None:
    """Examine the files with secret keys that exist. None is made."""
    paths = {
        "storage": settings.resolved_storage_identity_file,
        "webhook": settings.resolved_webhook_identity_file,
        "link": settings.resolved_link_keys_file,
        "Prefect": settings.home / "prefect-api-auth",
    }
    with found.examining("key-files"):
        for kind, path in paths.items():
            try:
                _check_key_file(kind, path, found)
            except OSError as error:
                message = f"{path} cannot be read: {error.strerror}"
                found.problem("key-files", message, "give this account its rights, or restore it from a backup")


def _check_key_file(kind: str, path: Path, found: Findings) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    is_open = bool(status.st_mode & (stat.S_IRWXG | stat.S_IRWXO))
    if is_open:
        message = f"other accounts have rights to {path}"
        found.problem("key-files", message, f"run: chmod 600 {path}; if they may have read it, replace the keys")
    try:
        if kind in {"storage", "webhook"}:
            identities_of_its_own(path, may_create=False)
        elif not path.read_bytes().strip():
            found.problem("key-files", f"{path} is empty", "restore it from a backup, or remove it")
    except InvalidSettings as error:
        if not is_open:
            found.problem("key-files", error.message, "restore the file from a backup")


def check_run_locks(settings: Settings, found: Findings) -> set[str]:
    """Examine lock files and scratch folders of runs; return the ids of the living runs."""
    with found.examining("run-locks"):
        locks = run_locks(settings.home)
        dead = sorted(str(run_id) for run_id, is_alive in locks.items() if not is_alive)
        alive = {str(run_id) for run_id, is_alive in locks.items() if is_alive}
        if dead:
            message = f"{counted(len(dead), 'run')} ended early: what was half stored then is not removed"
            found.warning("run-locks", message, _NEXT_RUN_CLEARS, dead)
        if settings.scratch.is_dir():
            left = sorted(one.name for one in settings.scratch.iterdir() if one.name not in {*alive, *dead, "exports"})
            if left:
                remedy = f"'waybill sweep' removes those of runs below {settings.scratch}; no run uses the others"
                found.warning("run-locks", f"{len(left)} scratch folders belong to no run", remedy, left)
        return alive
    return set()


def check_processes(processes: HomeProcesses, found: Findings) -> None:
    """Examine what `waybill.stack` has found out about the processes of the home."""
    with found.examining("processes"):
        dead = [f"{one.name} ({one.pid})" for one in processes.recorded if not one.is_running]
        if dead and processes.up_is_running:
            remedy = "'waybill up' starts them again; its output says why when it cannot"
            found.warning("processes", "processes have ended", remedy, dead)
        if processes.leftovers:
            remedy = "no command owns them any more; end them by their ids"
            found.problem("processes", "processes were left behind", remedy, processes.leftovers)
        full = [
            f"{one.name} ({one.pid}): {one.descriptors} of {one.limit}"
            for one in processes.recorded
            if one.descriptors is not None and one.limit is not None and one.descriptors > _NEARLY_ALL * one.limit
        ]
        if full:
            found.warning("processes", "processes have nearly all files open that they may", "raise ulimit -n", full)
        found.counts["processes"] = {
            one.name: {"pid": one.pid, "running": one.is_running, "descriptors": one.descriptors}
            for one in processes.recorded
        }


_NEXT_RUN_CLEARS = "the next run clears up after them; start one, or 'waybill up'"


def _check_disk(place: Path, found: Findings) -> None:
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    found.counts.setdefault("free_bytes", {})[str(place)] = free
    message = f"{free // 1024**2:,} MiB are free where {place} is"
    if free < _FULL_BYTES:
        found.problem("disk", message, "free some space now: Postgres stops when its disk is full")
    elif free < _LOW_BYTES:
        found.warning("disk", message, "free some space, or move the home to a larger disk")
