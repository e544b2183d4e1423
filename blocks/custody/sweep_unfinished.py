"""The part of a sweep that clears up after writers and deletions that were interrupted.

Rows between two states are `abandoned`'s. Temporary files and multipart uploads are found in the storage: those of a
file whose row is still `pending` are left alone, however old they are, because its writer shows that it lives.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from blocks.catalog import KINDS
from blocks.catalog.maintenance import left_between_states
from blocks.catalog.sweeping import states_of_paths
from blocks.custody.abandoned import remove_abandoned
from blocks.custody.custody import Custody
from blocks.custody.manifest import MANIFEST_SUFFIX
from blocks.custody.sweep_report import Finding, SweepReport
from blocks.errors import Permanent
from blocks.runtime.threads import in_thread
from blocks.storage import kind_folder

_ABANDONED = {"pending": "its writer is gone", "deleting": "its deletion was interrupted"}


async def sweep_unfinished(
    custody: Custody, report: SweepReport, *, upload_age: timedelta, silent_for: timedelta
) -> None:
    """Remove files whose writers are silent *silent_for* so long, then leftovers older than *upload_age*."""
    before = await _between_states(custody, silent_for)
    left: dict[str, str] = {}
    if before and not report.dry_run:
        await remove_abandoned(custody, silent_for=silent_for)
        left = await _between_states(custody, silent_for)
    for path, state in before.items():
        finding = Finding(path=path, what="abandoned", why=_ABANDONED[state])
        (report.failed if path in left else report.removed).add(finding)
    async with aclosing(_leftovers(custody, report, upload_age)) as leftovers:
        async for path in leftovers:
            finding = Finding(path=path, what="upload", why="its writer left it unfinished")
            try:
                found = (
                    1
                    if report.dry_run
                    else await in_thread(lambda _, path=path: custody.backend.abort(path, older_than=upload_age))
                )
            except Permanent as error:
                report.failed.add(finding.because(error.message))
            else:
                if found:
                    report.removed.add(finding)


async def _between_states(custody: Custody, silent_for: timedelta) -> dict[str, str]:
    async with custody.catalog.connection() as connection:
        rows = await left_between_states(connection, silent_for)
    return {path: row.state for row in rows for path in row.locations[:1]}


async def _leftovers(custody: Custody, report: SweepReport, older_than: timedelta) -> AsyncGenerator[str]:
    """Yield paths with leftovers that no living writer uses."""
    for kind in KINDS:
        folder = kind_folder(kind)
        found = await in_thread(
            lambda _, folder=folder: sorted(set(custody.backend.leftovers(folder, older_than=older_than)))
        )
        if not found:
            continue
        async with custody.catalog.connection() as connection:
            states = await states_of_paths(connection, [path.removesuffix(MANIFEST_SUFFIX) for path in found])
        for path in found:
            if states.get(path.removesuffix(MANIFEST_SUFFIX)) == "pending":
                why = "its writer shows that it lives"
                report.untouched.add(Finding(path=path, what="upload", why=why))
            else:
                yield path
