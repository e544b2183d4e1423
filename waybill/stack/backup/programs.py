"""Postgres' own programs that make, check and archive backups, called as this account over the cluster's socket."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from blocks.errors import StackUnavailable
from waybill.services.backups import SLOT
from waybill.stack.postgres_cluster import cannot_run, postgres_binaries

# Nothing of the caller's environment: libpq would read PGHOST, PGOPTIONS and the like from it.
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}

# The shell becomes the program. Its watcher reads a pipe that ends with this process, also by SIGKILL, and then ends
# the whole process group: pg_basebackup forks, and its fork goes on alone when it is killed itself.
_WATCHED = 'exec 3<&0 </dev/null; { read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 & exec 3<&-; exec "$@"'


def base_backup(database_url: str, target: Path) -> None:
    """Copy the running cluster to the new folder *target*, with the log that makes the copy consistent."""
    run(
        "pg_basebackup", "-d", database_url, "-D", target, "--checkpoint=fast", "--wal-method=stream",
        "--manifest-checksums=SHA256", "--no-password",
    )  # fmt: skip


def verify_base_backup(folder: Path) -> None:
    """Compare a base backup with its manifest, and read its log. Raises `StackUnavailable` when they differ."""
    run("pg_verifybackup", "--exit-on-error", "--quiet", folder)


def remove_older_wal(archive: Path, first_wal: str) -> None:
    """Remove what lies before the segment *first_wal* from an archive."""
    run("pg_archivecleanup", archive, first_wal)


def receive_wal(database_url: str, archive: Path, *, until: str | None = None) -> list[str]:
    """Return the command that receives the log into *archive*, up to the position *until* or until the server ends."""
    command = [
        str(postgres_binaries() / "pg_receivewal"), "-D", str(archive), "-S", SLOT, "-d", database_url, "--no-loop",
        "--synchronous", "--no-password",
    ]  # fmt: skip
    return [*command, f"--endpos={until}"] if until is not None else command


def receive_mark(archive: Path) -> str:
    """Return what the command lines of `receive_wal` for *archive* contain."""
    return f"pg_receivewal -D {archive} "


def run_watched(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run *command* to its end and return its output; it ends with this process, together with all that it has forked.

    Raises `OSError`.
    """
    reader, writer = os.pipe()
    try:
        with subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, "sh", *command], env=ENVIRONMENT, stdin=reader, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        ) as child:  # fmt: skip
            try:
                output, errors = child.communicate()
            finally:
                os.close(writer)
                writer = -1
        return subprocess.CompletedProcess(list(command), child.returncode, output, errors)
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def run(program: str, *arguments: object) -> str:
    """Run a program of Postgres and return its output. Raises `StackUnavailable` with its last words."""
    binaries = postgres_binaries()
    try:
        done = run_watched([str(binaries / program), *map(str, arguments)])
    except OSError as exc:
        raise cannot_run(binaries, exc) from exc
    if done.returncode != 0:
        raise StackUnavailable(f"{program} failed: {done.stderr.strip()[-2000:] or f'exit code {done.returncode}'}")
    return done.stdout
