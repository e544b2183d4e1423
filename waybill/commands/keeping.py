"""``waybill files pin|unpin|hold|release|extend``: how long a file stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.errors import WaybillError
from waybill.commands.arguments import AsJson, FileId, FileIds, check_ids, find_files, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_custody

if TYPE_CHECKING:
    from uuid import UUID

    from blocks.access import Actor
    from blocks.catalog import Artifact
    from blocks.custody import Custody

Note = Annotated[str | None, typer.Option(metavar="TEXT", help="Why the file is kept.")]


def pin(file_id: FileId, note: Note = None, as_json: AsJson = False) -> int:
    """Keep a file past its expiry until it is unpinned.

    A pinned file cannot be deleted.
    """
    from waybill.services.files import pin_file

    return _change(file_id, as_json, lambda custody, wanted, by: pin_file(custody, wanted, note=note, by=by))


def unpin(file_id: FileId, as_json: AsJson = False) -> int:
    """Let a file expire again.

    One whose time is over stays for another day.
    """
    from waybill.services.files import unpin_file

    return _change(file_id, as_json, lambda custody, wanted, by: unpin_file(custody, wanted, by=by))


def hold(file_id: FileId, note: Note = None, as_json: AsJson = False) -> int:
    """Put a file under a legal hold until it is released.

    It stays readable and cannot be deleted, whatever its pin and its expiry; over HTTP only a key with the scope admin
    releases it. Also a file that has expired, as long as its bytes are stored.
    """
    from waybill.services.files import hold_file

    return _change(file_id, as_json, lambda custody, wanted, by: hold_file(custody, wanted, note=note, by=by))


def release(file_id: FileId, as_json: AsJson = False) -> int:
    """Lift the legal hold of a file.

    One whose time is over stays for another day.
    """
    from waybill.services.files import release_file

    return _change(file_id, as_json, lambda custody, wanted, by: release_file(custody, wanted, by=by))


def extend(
    file_ids: FileIds,
    keep_for: Annotated[
        str | None, typer.Option("--for", metavar="90d", help="How long from now the files are to stay.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="2027-01-31", help="Until when: a day (its beginning in UTC), or 2027-01-31T08:00Z."),
    ] = None,
    shorten: Annotated[bool, typer.Option("--shorten", help="Let files go earlier than they would.")] = False,
    as_json: AsJson = False,
) -> int:
    """Let files expire later.

    Times count by the database's clock. Also files that have expired, as long as their bytes are stored. One that stays
    for longer already is left as it is without --shorten. A failure does not stop the others.

    Examples: waybill files extend ID --for 90d / waybill files extend ID --until 2027-01-31
    """
    from waybill.services.files import extend_file, read_end

    end = read_end(keep_for, until)
    check_ids(file_ids)

    async def work(custody: Custody) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for file_id in await find_files(custody, file_ids):
            try:
                artifact, is_changed = await extend_file(
                    custody, file_id, end, shorten=shorten, even_expired=True, by=this_account()
                )
            except WaybillError as error:
                results.append({"file_id": str(file_id), "state": "failed", "error": error.message})
            else:
                state = "extended" if is_changed else "unchanged"
                results.append({**artifact.listing(), "state": state, "error": None})
        return results

    results = with_custody(lambda custody, _: work(custody))
    counts = Counter(str(result["state"]) for result in results)
    if as_json:
        print_json({"files": results, **{state: counts[state] for state in ("extended", "unchanged", "failed")}})
    for result in results:
        if result["error"]:
            print_notice(f"{result['file_id']}: {result['state']}: {result['error']}")
        elif not as_json:
            print_line(f"{result['file_id']}  {result['filename']}  expires at {human_time(result['expires_at'])}")
    if counts["unchanged"] and not as_json:
        print_notice(f"{counts['unchanged']} unchanged: they stay for longer already; --shorten lets them go earlier")
    return 1 if counts["failed"] else 0


def _change(
    file_id: str, as_json: bool, change: Callable[[Custody, UUID, Actor], Coroutine[None, None, Artifact]]
) -> int:
    """Change a pin or a hold, and print the file and until when it stays."""
    check_ids([file_id])

    async def work(custody: Custody) -> Artifact:
        (wanted,) = await find_files(custody, [file_id])
        return await change(custody, wanted, this_account())

    artifact = with_custody(lambda custody, _: work(custody))
    if as_json:
        print_json(artifact.metadata_view())
    else:
        state = ", ".join(("pinned" if artifact.pinned_at else "not pinned", *(["held"] if artifact.held_at else [])))
        print_line(f"{artifact.file_id}  {artifact.filename}  {state}")
        _print_end(artifact)
    return 0


def _print_end(artifact: Artifact) -> None:
    """Print until when the file stays now: a pin and a hold are independent of each other."""
    if artifact.held_at is not None:
        print_notice(f"{artifact.filename} stays until: waybill files release {artifact.file_id}")
    elif artifact.pinned_at is not None:
        print_notice(f"{artifact.filename} stays until: waybill files unpin {artifact.file_id}")
    else:
        print_notice(f"{artifact.filename} expires at {human_time(artifact.expires_at.isoformat())}")
