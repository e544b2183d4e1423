"""``waybill keys create|list|revoke``: keys for the HTTP API."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import format_duration, parse_duration
from blocks.errors import InvalidOptions
from waybill.commands.arguments import AsJson, read_api_key_id, this_account
from waybill.commands.output import human_time, print_json, print_notice
from waybill.commands.session import with_transaction
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.access import ApiKey

# Ten years; for longer, make a key that does not expire.
_LONGEST = timedelta(days=3650)
# Far above what one gateway answers, and it fits the database column.
_MOST_PER_MINUTE = 1_000_000


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What uses it, such as 'nightly import'.")],
    scopes: Annotated[
        str,
        typer.Option(
            metavar="LIST", help="read: list and download; write: upload, share, pin, delete; admin: everything."
        ),
    ] = "read,write",
    expires: Annotated[
        str | None, typer.Option(metavar="90d", help="How long it works; without it, until it is revoked.")
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=_MOST_PER_MINUTE, help="Requests per minute, instead of the default."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Make an API key and print it, this once.

    Only its hash is stored.

    Example: waybill keys create "nightly import" --scopes read,write --expires 90d
    """
    from blocks.access import check_name, check_scopes
    from waybill.services.api_keys import create_api_key

    # Checked before anything is started.
    wanted, name_given = check_scopes([scope.strip() for scope in scopes.split(",")]), check_name(name)
    lifetime = parse_duration(expires) if expires is not None else None
    if lifetime is not None and lifetime > _LONGEST:
        raise InvalidOptions(f"a key works for {format_duration(_LONGEST)} at most; without --expires it never expires")

    made = with_transaction(
        lambda connection: create_api_key(
            connection,
            name=name_given,
            scopes=wanted,
            requests_per_minute=rate,
            keep_for=lifetime,
            by=this_account(),
        ),
        makes_home=True,
    )
    if as_json:
        print_json({**made.key.as_json(), "key": made.text})
        return 0
    typer.echo(made.text)
    lasting = f"until {human_time(made.key.expires_at.isoformat())}" if made.key.expires_at else "until it is revoked"
    print_notice(
        f"Keep it where the program that uses it can read it: it is not shown again. It works {lasting}, for "
        f"{', '.join(made.key.scopes)}. Revoke it with: waybill keys revoke {made.key.key_id}"
    )
    return 0


def list_(as_json: AsJson = False) -> int:
    """List API keys, newest first, also those that no longer work.

    The keys themselves are never shown.
    """
    from blocks.access import list_keys

    found = with_transaction(list_keys)
    if as_json:
        print_json({"keys": [key.as_json() for key in found]})
        return 0
    print_table(
        ("key", "name", "scopes", "per minute", "made", "expires", "last used", "state"), [_row(key) for key in found],
        numeric=("per minute",), cut=("name",), spare=("per minute", "made", "expires", "last used"),
    )  # fmt: skip
    return 0


def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As 'keys list' shows it.")], as_json: AsJson = False
) -> int:
    """Revoke an API key."""
    from waybill.services.api_keys import revoke_api_key

    wanted = read_api_key_id(key_id)
    revoked = with_transaction(lambda connection: revoke_api_key(connection, wanted, by=this_account()))
    if as_json:
        print_json(revoked.as_json())
    else:
        typer.echo(f"{revoked.key_id}  {revoked.name}  revoked")
    return 0


def _row(key: ApiKey) -> tuple[str, ...]:
    state = "works" if key.usable else "revoked" if key.revoked_at else "expired"
    times = (key.created_at, key.expires_at, key.last_used_at)
    made, expires, used = (human_time(moment.isoformat()) if moment else "" for moment in times)
    return (
        key.key_id, key.name, ", ".join(key.scopes), str(key.requests_per_minute or ""), made, expires, used, state
    )  # fmt: skip
