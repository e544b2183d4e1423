"""``waybill files pin|unpin``: files that stay whatever their time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.account import this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import read_id, with_custody

if TYPE_CHECKING:
    from blocks.catalog import Artifact
    from blocks.custody import Custody
    from blocks.settings import Settings

FileId = Annotated[str, typer.Argument(metavar="ID", help="The file's id, as 'files list' shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def pin(
    file_id: FileId,
    note: Annotated[str | None, typer.Option(metavar="TEXT", help="Why it is to stay.")] = None,
    as_json: AsJson = False,
) -> int:
    """Keep a file whatever its time, until it is unpinned. Nobody can remove it meanwhile."""
    wanted = read_id(file_id)

    async def work(custody: Custody, _: Settings) -> Artifact:
        from waybill.services.files import pin_file

        return await pin_file(custody, wanted, note=note, by=this_account())

    artifact = _changed(work, as_json)
    if not as_json:
        print_notice(f"{artifact.filename} stays until: waybill files unpin {artifact.file_id}")
    return 0


def unpin(file_id: FileId, as_json: AsJson = False) -> int:
    """Let a file go at its time again; one whose time is over stays for another day."""
    wanted = read_id(file_id)

    async def work(custody: Custody, _: Settings) -> Artifact:
        from waybill.services.files import unpin_file

        return await unpin_file(custody, wanted, by=this_account())

    artifact = _changed(work, as_json)
    if not as_json:
        print_notice(f"{artifact.filename} goes at {human_time(artifact.expires_at.isoformat())}")
    return 0


def _changed(work: Callable[[Custody, Settings], Coroutine[None, None, Artifact]], as_json: bool) -> Artifact:
    artifact = with_custody(work)
    if as_json:
        print_json(artifact.metadata_view())
    else:
        print_line(f"{artifact.file_id}  {artifact.filename}  {'pinned' if artifact.pinned_at else 'not pinned'}")
    return artifact
