"""Postgres' own programs that make, check and archive backups, called as this account over the cluster's socket."""

from __future__ import annotations

import subprocess
from pathlib import Path

from blocks.errors import StackUnavailable
from waybill.services.backups import SLOT
from waybill.stack.postgres_cluster import cannot_run, postgres_binaries

# Nothing of the caller's environment: libpq would read PGHOST, PGOPTIONS and the like from it.
ENVIRONMENT = {"LC_ALL": "C"}


def base_backup(database_url: str, target: Path) -> None:
    """Copy the running cluster to the new folder *target*, with the log that makes the copy consistent."""
    _run(
        "pg_basebackup", "-d", database_url, "-D", target, "--checkpoint=fast", "--wal-method=stream",
        "--manifest-checksums=SHA256", "--no-password",
    )  # fmt: skip


def verify_base_backup(folder: Path) -> None:
    """Compare a base backup with its manifest, and read its log. Raises `StackUnavailable` when they differ."""
    _run("pg_verifybackup", "--exit-on-error", "--quiet", folder)


def remove_older_wal(archive: Path, first_wal: str) -> None:
    """Remove what lies before the segment *first_wal* from an archive."""
    _run("pg_archivecleanup", archive, first_wal)


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


def _run(program: str, *arguments: object) -> None:
    binaries = postgres_binaries()
    try:
        done = subprocess.run(
            [str(binaries / program), *map(str, arguments)],
            env=ENVIRONMENT, capture_output=True, text=True, errors="replace", check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as exc:
        raise cannot_run(binaries, exc) from exc
    if done.returncode != 0:
        raise StackUnavailable(f"{program} failed: {done.stderr.strip()[-2000:] or f'exit code {done.returncode}'}")
