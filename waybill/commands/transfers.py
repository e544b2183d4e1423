"""``waybill transfers prepare|list|show|cancel``: files for machines and people who share nothing with this one."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions, WaybillError
from blocks.runtime.in_words import size
from waybill.commands.arguments import AsJson, FileId, check_ids, find_files, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_catalog, with_custody
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.catalog import Catalog
    from blocks.custody import Custody
    from blocks.settings import Settings
    from blocks.transfers import Page, Transfer
    from waybill.services.transfers import Prepared

TransferId = Annotated[str, typer.Argument(metavar="TRANSFER_ID", help="Its id, as 'transfers list' shows it.")]
TransferIds = Annotated[
    list[str], typer.Argument(metavar="TRANSFER_ID...", help="Ids, as 'transfers list' shows them.")
]


def prepare(
    file_id: FileId,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="RECIPIENT", help="The age recipient that can open it. May be repeated."),
    ] = None,
    worker: Annotated[str | None, typer.Option(metavar="NAME", help="Or the remote worker that it is for.")] = None,
    expires: Annotated[str, typer.Option(help="How long it can be fetched: 90s, 15m, 1h, 7d; at most 30d.")] = "1h",
    as_json: AsJson = False,
) -> int:
    """Prepare the download of a file, encrypted for a recipient or a worker.

    Prints the URL, its token, and a curl command that fetches the file and resumes it. The gateway answers it ('waybill
    up' or 'waybill gateway'). Example: waybill transfers prepare ID --to age1...
    """
    check_ids([file_id])
    lasts = parse_duration(expires)

    async def work(custody: Custody, settings: Settings) -> Prepared:
        from blocks.links import LinkKeys, Links
        from blocks.transfers import TransferTokens
        from waybill.services.transfers import hand_over_file, with_token

        (wanted,) = await find_files(custody, [file_id])
        base_url = Links.of(settings).base_url
        transfer = await hand_over_file(
            custody, wanted, recipients=to or (), worker=worker, lasts=lasts, by=this_account()
        )
        return with_token(TransferTokens(LinkKeys(settings.resolved_link_keys_file)), base_url, transfer)

    made = with_custody(work, stores=True)
    if as_json:
        print_json({**made.as_json(), "curl": _curl(made)})
        return 0
    print_line(f"Transfer: {made.transfer.transfer_id}")
    print_line(f"URL:      {made.url}")
    print_line(f"Token:    {made.token}")
    print_line(_curl(made))
    ends = human_time(made.token_expires_at.isoformat())
    print_notice(f"works until {ends}; any holder of the token can fetch it, and only its recipient can open it")
    return 0


def list_(
    state: Annotated[
        str | None,
        typer.Option(help="Only pending, in_progress, completed, failed, expired or cancelled ones."),
    ] = None,
    direction: Annotated[str | None, typer.Option(help="Only download or upload.")] = None,
    worker: Annotated[str | None, typer.Option(metavar="NAME", help="Only those of this remote worker.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many transfers on one page.")] = 100,
    after: Annotated[str | None, typer.Option(help="Continue a list: the 'next' of the page before.")] = None,
    as_json: AsJson = False,
) -> int:
    """List transfers, newest first, also those that are over."""
    from blocks.transfers import STATES

    if state is not None and state not in STATES:
        raise InvalidOptions(f"a transfer is {', '.join(STATES)}, never {state!r}")
    if direction not in {None, "download", "upload"}:
        raise InvalidOptions(f"a transfer is a download or an upload, never {direction!r}")

    async def work(catalog: Catalog, _: Settings) -> Page:
        from waybill.services.transfers import read_transfers

        return await read_transfers(catalog, state=state, direction=direction, worker=worker, limit=limit, after=after)

    page = with_catalog(work)
    if as_json:
        print_json({"transfers": [one.as_json() for one in page.transfers], "next": page.next})
        return 0
    print_table(
        ("transfer", "direction", "state", "file", "done", "size", "for", "created", "expires"),
        [_row(one) for one in page.transfers],
        numeric=("done", "size"),
        cut=("file", "for"),
        spare=("created", "for", "expires", "done"),
    )
    if page.next:
        print_notice(f"more: waybill transfers list ... --after {page.next}")
    return 0


def show(transfer_id: TransferId, as_json: AsJson = False) -> int:
    """Show a transfer: its state, how far it is, and at which rate."""

    async def work(catalog: Catalog, _: Settings) -> Transfer:
        from waybill.services.transfers import read_transfer

        return await read_transfer(catalog, transfer_id)

    shown = with_catalog(work).as_json()
    if as_json:
        print_json(shown)
        return 0
    for name, value in shown.items():
        if value is not None:
            print_line(f"{name:16} {value}")
    return 0


def cancel(transfer_ids: TransferIds, as_json: AsJson = False) -> int:
    """Cancel open transfers, and remove what has arrived of uploads.

    A download that is under way is broken off within seconds.
    """

    async def work(custody: Custody, settings: Settings) -> tuple[list[Transfer], list[dict[str, str]]]:
        from blocks.webhooks.event_links import EventLinks
        from waybill.services.transfers import cancel_transfer

        links = EventLinks.of(settings)
        cancelled: list[Transfer] = []
        failed: list[dict[str, str]] = []
        for transfer_id in transfer_ids:
            try:
                cancelled.append(await cancel_transfer(custody, links, transfer_id, by=this_account()))
            except WaybillError as error:
                failed.append({"transfer_id": transfer_id, "error": error.message})
        return cancelled, failed

    cancelled, failed = with_custody(work)
    if as_json:
        print_json({"cancelled": [one.as_json() for one in cancelled], "failed": failed})
    for transfer in [] if as_json else cancelled:
        print_line(f"{transfer.transfer_id} is {transfer.state}")
    for one in failed:
        print_notice(f"waybill: {one['transfer_id']}: {one['error']}")
    return 1 if failed else 0


def _curl(made: Prepared) -> str:
    """Return the command that fetches the file, and resumes it when it is run again."""
    from blocks.transfers.outgoing import sealed_name

    words = ["curl", "-f", "-C", "-", "-o", sealed_name(made.transfer.filename)]
    return shlex.join([*words, "-H", f"Authorization: Bearer {made.token}", made.url])


def _row(transfer: Transfer) -> tuple[str, ...]:
    return (
        transfer.transfer_id,
        transfer.direction,
        transfer.state,
        transfer.filename,
        size(transfer.done_bytes),
        size(transfer.size) if transfer.size is not None else "",
        transfer.worker or transfer.recipient or "",
        human_time(transfer.created_at.isoformat()),
        human_time(transfer.expires_at.isoformat()),
    )
