"""``waybill backup`` and ``waybill restore``: a copy of a home that outlives it, and a home made of one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from blocks.errors import InvalidOptions
from blocks.runtime.in_words import size
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, typed_path
from waybill.commands.output import print_json, print_line, print_notice, steps_shown
from waybill.commands.session import stack_session

# People see the first of many problems; --json has them all.
_MAX_SHOWN = 20


def backup(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The folder of the backups, best on another disk.")],
    keep: Annotated[int | None, typer.Option(min=1, help="Keep this many backups, and remove older ones.")] = None,
    as_json: AsJson = False,
) -> int:
    """Back the home up: database, stored files and keys.

    May run while everything else does. From the first backup on, 'waybill up' archives the database's log to the same
    folder, so that any moment since then can be restored. PATH holds the keys of the home: it is for its owner alone.

    Examples: waybill backup /mnt/backups/waybill --keep 14
    """
    from waybill.stack.backup import make_backup
    from waybill.stack.postgres import EmbeddedPostgres

    if current_settings().database_url is not None:
        raise InvalidOptions(
            "WAYBILL_DATABASE_URL names a Postgres of your own: back it up with its own tools (pg_basebackup, "
            "pg_dump), and copy the storage and the key files of the home after it"
        )
    home = current_settings().home.resolve()
    if not EmbeddedPostgres(home).is_made:
        # A schedule with another working directory would make a new home each night, and an empty backup of it.
        raise InvalidOptions(f"there is nothing to back up: {home} has no database; set WAYBILL_HOME to your home")
    root = typed_path(path).resolve()
    if root.is_relative_to(home):
        raise InvalidOptions(f"{root} is inside of the home: it would be lost with it; name a folder elsewhere")
    with stack_session(prefect=False) as (settings, addresses), steps_shown() as show:
        made = asyncio.run(make_backup(settings, root, database_url=addresses.database_url, keep=keep, on_step=show))
    one = made.backup
    if as_json:
        counts = {"new_files": made.new_files, "new_bytes": made.new_bytes, "kept": made.kept, "removed": made.removed}
        print_json({**one.as_json(), **counts, "problems": made.problems, "unreadable": made.unreadable})
    else:
        print_line(
            f"{one.backup_id}: {made.stored_files:,} files and their manifests, {size(one.bytes)} together, of "
            f"which {size(made.new_bytes)} are new; {made.kept} backups are kept"
        )
        if not one.files_are_included:
            print_notice("stored files are not included: they are in the storage that WAYBILL_STORAGE_URL names")
    _notices(made.problems)
    _notices(made.unreadable)
    return 1 if made.problems else 0


def restore(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The folder of the backups.")],
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The moment to restore, such as 2026-11-29T10:15:00+00:00.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Make a new home of a backup, and examine it.

    Restores the last archived moment, or that of --at, into WAYBILL_HOME, which must not exist or be empty. Files that
    the backup does not have are named and marked as damaged.

    Examples: WAYBILL_HOME=/srv/waybill waybill restore /mnt/backups/waybill --at 2026-11-29T10:15:00+00:00
    """
    from waybill.commands.doctor import examine, show
    from waybill.process.signals import unwinding_on_signals
    from waybill.services.backups import Repository, parse_time
    from waybill.services.doctor.findings import Findings
    from waybill.stack.backup import choose_backup, recovery_target, restore_backup, restore_database, restoring

    settings = current_settings()
    if settings.database_url is not None:
        raise InvalidOptions("WAYBILL_DATABASE_URL is set, and a restored home has a Postgres of its own: unset it")
    moment = parse_time(at) if at is not None else None
    repository = Repository(Path(typed_path(path)).resolve())
    if settings.home.resolve().is_relative_to(repository.root):
        raise InvalidOptions(
            f"{settings.home} is inside of {repository.root}, which holds the backups; name another home"
        )
    chosen = choose_backup(repository, moment, print_notice)
    target = recovery_target(repository, chosen, moment) if moment is not None else None
    with unwinding_on_signals(), restoring(settings.home):
        with steps_shown() as step:
            last_change = restore_database(settings.home, repository, chosen, target=target, on_step=step)
        with stack_session(prefect=False) as (running, _), steps_shown() as step:
            restored = asyncio.run(restore_backup(running, repository, chosen, on_step=step))
    reached = moment or last_change
    found = Findings()
    examine(found)
    if as_json:
        counts = {"files": restored.files, "bytes": restored.bytes, "missing": restored.missing}
        print_json({"backup": chosen.as_json(), "at": moment.isoformat() if moment else None,
                    "restored_to": reached.isoformat(), **counts, "doctor": found.as_json()})  # fmt: skip
    else:
        show(found, as_json=False)
        print_line(
            f"restored {chosen.backup_id} to {reached.astimezone().isoformat(sep=' ', timespec='seconds')}: "
            f"{restored.files:,} files ({size(restored.bytes)}), and their manifests"
        )
        if not chosen.files_are_included:
            print_notice("stored files are not in the backup: set WAYBILL_STORAGE_URL to where they are")
    _notices(restored.missing)
    return 1 if restored.missing or found.status == "problem" else 0


def _notices(problems: list[str]) -> None:
    for problem in problems[:_MAX_SHOWN]:
        print_notice(problem)
    if len(problems) > _MAX_SHOWN:
        print_notice(f"and {len(problems) - _MAX_SHOWN:,} more; --json has them all")
