"""``waybill audit``: the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from waybill.commands.arguments import AsJson, check_ids, find_one, read_api_key_id
from waybill.commands.output import human_time, print_json, print_notice
from waybill.commands.session import with_catalog
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.access import AuditEntry
    from blocks.catalog import Catalog
    from blocks.settings import Settings
    from waybill.services.audit import AuditPage

# Ten years.
_MAX_HOURS = 24 * 3650


def audit(
    hours: Annotated[
        float, typer.Option(min=0.01, max=_MAX_HOURS, help="How far to look back; fractions are allowed.")
    ] = 24,
    action: Annotated[str | None, typer.Option(help="Only this: upload, download, delete, share, pin, ...")] = None,
    file: Annotated[
        str | None, typer.Option(metavar="ID", help="Only what was done to this file; 8 digits do.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="KEY_ID", help="Only what was done with this API key.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, newest first.")] = 100,
    after: Annotated[int | None, typer.Option(min=1, help="Continue after the page before ('next').")] = None,
    as_json: AsJson = False,
) -> int:
    """Show who did what to which file, newest first.

    Over HTTP, through links, and with commands.

    Examples: waybill audit --action delete --hours 168 / waybill audit --file ID --hours 8760
    """
    from blocks.access import check_action
    from waybill.services.audit import read_audit_log

    if action is not None:
        check_action(action)
    if file is not None:
        check_ids([file])
    key_id = read_api_key_id(key) if key is not None else None

    async def work(catalog: Catalog, _: Settings) -> AuditPage:
        from waybill.services.short_ids import find_file

        file_id = await find_one(catalog, find_file, file) if file is not None else None
        return await read_audit_log(
            catalog, hours=hours, action=action, file_id=file_id, key_id=key_id, limit=limit, after=after
        )

    page = with_catalog(work)
    if as_json:
        print_json(page.as_json())
        return 0
    print_table(
        ("time", "who", "did", "file", "from", "detail"),
        [_row(entry) for entry in page.entries],
        cut=("who",),
        prose=("detail",),
        spare=("from", "detail"),
    )
    if page.next is not None:
        print_notice(f"more: --after {page.next}")
    return 0


def _row(entry: AuditEntry) -> tuple[str, ...]:
    return (
        human_time(entry.recorded_at.isoformat()) if entry.recorded_at else "",
        entry.actor,
        entry.action,
        str(entry.file_id or ""),
        entry.client or "",
        "; ".join(f"{name} {_words(value)}" for name, value in entry.detail.items()),
    )


def _words(value: object) -> str:
    return " ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)
