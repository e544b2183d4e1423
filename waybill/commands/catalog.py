"""``waybill catalog rebuild``: restore the catalogue from the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.arguments import AsJson
from waybill.commands.output import print_json, print_notice, progress_bar
from waybill.commands.session import with_custody

if TYPE_CHECKING:
    from blocks.custody import Custody
    from blocks.custody.rebuild import Rebuilt
    from blocks.settings import Settings

# People see the first of many problems; --json has them all.
MAX_PROBLEMS_SHOWN = 20


def rebuild(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would be restored, change nothing.")] = False,
    accept_plain: Annotated[
        bool,
        typer.Option(
            "--accept-plain",
            help="Accept manifests that are not encrypted although encryption is on: any program that can write to the "
            "storage could have made them.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Restore the catalogue from the manifests of stored files.

    Needs the storage key. Adds missing rows, and makes files available again that the retention has removed and whose
    bytes are back; changes no other row, so it may run at any time, and again. The search index is not restored:
    process the sources again, and their outputs are reused. Afterwards: waybill files verify --all
    """

    async def work(custody: Custody, _: Settings) -> Rebuilt:
        from blocks.custody.rebuild import rebuild as rebuild_catalog

        with progress_bar("rebuilding") as show:

            def note(done: int, total: int) -> None:
                show(100 * done / max(total, 1), f"{done} of {total} manifests")

            return await rebuild_catalog(custody, accept_plain=accept_plain, dry_run=dry_run, on_progress=note)

    # Where the storage is all that is left, the home is made anew.
    found = with_custody(work, makes_home=True, reaches_storage=True)
    if as_json:
        print_json(
            {
                "restored": found.restored,
                "known": found.known,
                "failed": [{"key": key, "error": error} for key, error in found.failed],
                "blobs_without_manifest": found.blobs_without_manifest,
                "dry_run": dry_run,
            }
        )
    else:
        typer.echo(
            f"{found.restored:,} {'to restore' if dry_run else 'restored'}, {found.known:,} known already, "
            f"{len(found.failed):,} failed, {len(found.blobs_without_manifest):,} stored files without a manifest"
        )
    problems = [f"{key}: {error}" for key, error in found.failed]
    problems += [f"{key}: has no manifest" for key in found.blobs_without_manifest]
    for problem in problems[:MAX_PROBLEMS_SHOWN]:
        print_notice(problem)
    if len(problems) > MAX_PROBLEMS_SHOWN:
        print_notice(f"and {len(problems) - MAX_PROBLEMS_SHOWN:,} more; --json has them all")
    return 1 if found.failed else 0
