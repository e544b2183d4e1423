"""``waybill files pin|unpin|hold|release``: keep a file past its expiry, or let it expire again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.arguments import AsJson, FileId, read_id, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_custody

if TYPE_CHECKING:
    from blocks.catalog import Artifact
    from blocks.custody import Custody

Note = Annotated[str | None, typer.Option(metavar="TEXT", help="Why the file is kept.")]


def pin(file_id: FileId, note: Note = None, as_json: AsJson = False) -> int:
    """Keep a file past its expiry until it is unpinned.

    A pinned file cannot be deleted.
    """
    from waybill.services.files import pin_file

    wanted = read_id(file_id)
    artifact = _changed(lambda custody: pin_file(custody, wanted, note=note, by=this_account()), as_json)
    if not as_json:
        print_notice(f"{artifact.filename} stays until: waybill files unpin {artifact.file_id}")
    return 0


def unpin(file_id: FileId, as_json: AsJson = False) -> int:
    """Let a file expire again.

    One whose time is over stays for another day.
    """
    from waybill.services.files import unpin_file

    wanted = read_id(file_id)
    artifact = _changed(lambda custody: unpin_file(custody, wanted, by=this_account()), as_json)
    if not as_json:
        _print_end(artifact)
    return 0


def hold(file_id: FileId, note: Note = None, as_json: AsJson = False) -> int:
    """Put a file under a legal hold until it is released.

    It stays readable and cannot be deleted, whatever its pin and its expiry; over HTTP only a key with the scope admin
    releases it. Also a file that has expired, as long as its bytes are stored.
    """
    from waybill.services.files import hold_file

    wanted = read_id(file_id)
    artifact = _changed(lambda custody: hold_file(custody, wanted, note=note, by=this_account()), as_json)
    if not as_json:
        print_notice(f"{artifact.filename} stays until: waybill files release {artifact.file_id}")
    return 0


def release(file_id: FileId, as_json: AsJson = False) -> int:
    """Lift the legal hold of a file.

    One whose time is over stays for another day.
    """
    from waybill.services.files import release_file

    wanted = read_id(file_id)
    artifact = _changed(lambda custody: release_file(custody, wanted, by=this_account()), as_json)
    if not as_json:
        _print_end(artifact)
    return 0


def _changed(work: Callable[[Custody], Coroutine[None, None, Artifact]], as_json: bool) -> Artifact:
    artifact = with_custody(lambda custody, _: work(custody))
    if as_json:
        print_json(artifact.metadata_view())
    else:
        state = ", ".join(("pinned" if artifact.pinned_at else "not pinned", *(["held"] if artifact.held_at else [])))
        print_line(f"{artifact.file_id}  {artifact.filename}  {state}")
    return artifact


def _print_end(artifact: Artifact) -> None:
    """Print until when the file stays now: a pin and a hold are independent of each other."""
    if artifact.held_at is not None:
        print_notice(f"{artifact.filename} stays until: waybill files release {artifact.file_id}")
    elif artifact.pinned_at is not None:
        print_notice(f"{artifact.filename} stays until: waybill files unpin {artifact.file_id}")
    else:
        print_notice(f"{artifact.filename} expires at {human_time(artifact.expires_at.isoformat())}")
