"""``waybill webhooks add|list|enable|disable|remove|rotate|secret``: endpoints and their secrets."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, EndpointId, check_ids, find_one, secret_from_stdin, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_catalog, with_transaction
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from uuid import UUID

    from blocks.catalog import Catalog
    from blocks.settings import Settings
    from blocks.webhooks.endpoints import Endpoint
    from blocks.webhooks.registration import Registered, Rotated
    from waybill.services.webhooks import Change


def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send: https://host/path.")],
    events: Annotated[
        str | None, typer.Option(metavar="LIST", help="Event types, separated by commas; all of them when left out.")
    ] = None,
    description: Annotated[str, typer.Option(help="A note for people about the receiver.")] = "",
    secret: Annotated[
        str | None,
        typer.Option(metavar="-", help="'-' reads a secret of your own (whsec_...) from standard input."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Register an endpoint and print its secret, this once.

    Events that are recorded from now on are sent there, signed with the secret.

    Example: waybill webhooks add https://example.org/hook --events task_completed,task_failed
    """
    from blocks.webhooks.event_types import check_event_types
    from blocks.webhooks.send.address import guard_of
    from waybill.services.webhooks import add_endpoint, operator_allows_loopback

    # Checked before anything is started.
    wanted = check_event_types([name.strip() for name in events.split(",")]) if events is not None else None
    own = secret_from_stdin(secret)
    own_database = current_settings().database_url is None

    async def added(catalog: Catalog, settings: Settings) -> Registered:
        allowed = await operator_allows_loopback(settings, url, own_database=own_database)
        return await add_endpoint(
            catalog,
            settings,
            url=url,
            events=wanted,
            description=description,
            secret=own,
            guard=guard_of(settings, loopback_allowed=allowed),
            loopback_allowed=allowed,
            by=this_account(),
        )

    made = with_catalog(added, makes_home=True)
    if as_json:
        print_json({**made.endpoint.as_json(), "secret": made.secret})
        return 0
    typer.echo(f"endpoint  {made.endpoint.endpoint_id}\nsecret    {made.secret}")
    print_notice(
        "Keep the secret where the receiver can read it: it is not shown again ('webhooks rotate' makes a new one). "
        f"Try it out: waybill webhooks test {made.endpoint.endpoint_id}"
    )
    return 0


def list_(as_json: AsJson = False) -> int:
    """List endpoints, their events and their waiting and dead deliveries."""
    from blocks.webhooks.endpoints import list_endpoints

    found = with_transaction(list_endpoints)
    if as_json:
        print_json({"endpoints": [one.listing() for one in found]})
        return 0
    print_table(
        ("endpoint", "url", "events", "origin", "state", "waiting", "dead"),
        [
            (
                str(one.endpoint_id),
                one.url,
                ", ".join(one.event_types) if one.event_types is not None else "all",
                one.name or one.origin,
                _state(one),
                str(one.pending),
                str(one.dead),
            )
            for one in found
        ],
        numeric=("waiting", "dead"),
        cut=("url",),
        prose=("events", "state"),
        spare=("origin", "events"),
    )
    return 0


def enable(endpoint_id: EndpointId, as_json: AsJson = False) -> int:
    """Send to an endpoint again, starting with what waits.

    Also to one that answered 410 (gone).
    """
    return _change(endpoint_id, "enabled", as_json)


def disable(endpoint_id: EndpointId, as_json: AsJson = False) -> int:
    """Stop sending to an endpoint; what is due waits."""
    return _change(endpoint_id, "disabled", as_json)


def remove(endpoint_id: EndpointId, as_json: AsJson = False) -> int:
    """Remove an endpoint and its secret.

    Its waiting deliveries are never sent; its log of deliveries stays.
    """
    return _change(endpoint_id, "removed", as_json)


def rotate(
    endpoint_id: Annotated[
        str | None, typer.Argument(metavar="[ENDPOINT_ID]", help="As 'webhooks list' shows it.")
    ] = None,
    runs: Annotated[bool, typer.Option("--runs", help="The secret for addresses that are given with a run.")] = False,
    overlap: Annotated[
        str, typer.Option(help="How long the old secret signs too: 15m, 24h, 7d; 0 for not at all.")
    ] = "24h",
    as_json: AsJson = False,
) -> int:
    """Make a new secret and print it.

    During the overlap every webhook is signed with both secrets, old and new.

    Where an endpoint follows a Prefect block that holds a secret, the block wins: change it there.
    """
    from waybill.services.short_ids import find_endpoint
    from waybill.services.webhooks import rotate_secret

    if (endpoint_id is None) == (not runs):
        raise InvalidOptions("name an endpoint, or give --runs for the secret of addresses that come with a run")
    if endpoint_id is not None:
        check_ids([endpoint_id])
    lasting = timedelta(0) if overlap in {"0", "0s"} else parse_duration(overlap)

    async def work(catalog: Catalog, settings: Settings) -> tuple[UUID | None, Rotated]:
        wanted = await find_one(catalog, find_endpoint, endpoint_id) if endpoint_id is not None else None
        return wanted, await rotate_secret(catalog, settings, wanted, lasting, by=this_account())

    rotated, made = with_catalog(work)
    until = made.previous_until.isoformat()
    if as_json:
        print_json({"endpoint_id": rotated and str(rotated), "secret": made.secret, "previous_until": until})
        return 0
    typer.echo(made.secret)
    if made.previous_is_lost:
        print_notice(
            "the earlier secret cannot be opened here, so it does not sign any more: give the new one to receivers"
        )
    elif lasting:
        print_notice(f"the earlier secret signs too until {human_time(until)}")
    return 0


def secret(as_json: AsJson = False) -> int:
    """Print the secret that signs what goes to a run's --webhook-url."""
    from blocks.webhooks.registration import shared_secret
    from blocks.webhooks.secrets import SecretBox

    _, found = with_transaction(
        lambda connection: shared_secret(connection, SecretBox.of(current_settings())), makes_home=True
    )
    if as_json:
        print_json({"secret": found})
    else:
        typer.echo(found)
    return 0


def _change(endpoint_id: str, to: Change, as_json: bool) -> int:
    from waybill.services.short_ids import find_endpoint
    from waybill.services.webhooks import change_endpoint

    check_ids([endpoint_id])

    async def work(catalog: Catalog, _: Settings) -> Endpoint:
        wanted = await find_one(catalog, find_endpoint, endpoint_id)
        return await change_endpoint(catalog, wanted, to, by=this_account())

    found = with_catalog(work)
    if as_json:
        print_json({**found.as_json(), **({"given_up": found.given_up} if to == "removed" else {})})
    else:
        print_line(f"{found.url} is {found.state}")
        if found.given_up:
            print_notice(f"{found.given_up:,} deliveries that waited for it are never sent; they are dead now")
    return 0


def _state(endpoint: Endpoint) -> str:
    if endpoint.state == "disabled":
        return f"disabled: {endpoint.disabled_because}"
    if endpoint.held_until is not None:
        return f"held until {human_time(endpoint.held_until.isoformat())}: {endpoint.held_because}"
    return endpoint.state
