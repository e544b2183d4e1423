"""``waybill webhooks deliveries|replay|test``: the log of deliveries, and sending them again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions
from waybill.commands.arguments import AsJson, EndpointId, check_ids, find_one, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_catalog
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.catalog import Catalog
    from blocks.settings import Settings
    from blocks.webhooks.outbox import DeliveryPage, DeliveryRecord, DeliveryState
    from waybill.services.webhooks import DeliveryHistory

_STATES = ("pending", "delivered", "dead")
# An attempt takes 20 s at most, and a dispatcher that was killed may hold the endpoint for some seconds more.
_TEST_SECONDS = 45.0
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)


def deliveries(
    delivery_id: Annotated[
        str | None, typer.Argument(metavar="[DELIVERY_ID]", help="Show every attempt of this one; 8 digits do.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ID", help="Only those to this endpoint.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those that are pending, delivered or dead.")] = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only those about this run.")] = None,
    since: Annotated[str | None, typer.Option(help="Only those of the last 15m, 24h, 7d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most, newest first.")] = 50,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Continue a list: its 'next'.")] = None,
    as_json: AsJson = False,
) -> int:
    """List deliveries, or show every attempt of one.

    The list is newest first: endpoint, event, attempts, and the receiver's last answer.
    """
    if delivery_id is not None:
        check_ids([delivery_id])
        return _one(delivery_id, as_json)
    if state is not None and state not in _STATES:
        raise InvalidOptions(f"a delivery is {', '.join(_STATES)}, never {state!r}")
    check_ids([given for given in (endpoint, run) if given is not None])

    async def work(catalog: Catalog, _: Settings) -> DeliveryPage:
        from blocks.webhooks.outbox import list_deliveries
        from waybill.services.short_ids import find_endpoint, find_run_with_events

        now = await catalog.now()
        async with catalog.connection() as connection:
            return await list_deliveries(
                connection,
                endpoint_id=await find_endpoint(connection, endpoint) if endpoint is not None else None,
                state=state,
                task_id=await find_run_with_events(connection, run) if run is not None else None,
                since=_back(now, parse_duration(since)) if since is not None else None,
                limit=limit,
                after=after,
            )

    page = with_catalog(work)
    if as_json:
        print_json({"deliveries": [one.as_json() for one in page.deliveries], "next": page.next})
        return 0
    print_table(
        ("delivery", "created", "event", "url", "state", "attempts", "status", "ms", "error"),
        [_row(one) for one in page.deliveries],
        numeric=("attempts", "status", "ms"),
        cut=("url",),
        prose=("error",),
        # All deliveries to one endpoint have its address.
        spare=("ms", "attempts", "status", *(() if endpoint is None else ("url",)), "created"),
    )
    if page.next:
        print_notice(f"more: --after {page.next}")
    return 0


def replay(
    delivery_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DELIVERY_ID...]", help="As 'webhooks deliveries' shows them; 8 digits do."),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ID", help="Every one to this endpoint.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Those created since a time (2026-01-31T08:00Z), or since 24h, 7d ago.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="And before a time, or 1h, 2d ago.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also delivered ones; without it only dead ones.")] = False,
    as_json: AsJson = False,
) -> int:
    """Send deliveries again, with the same id and body.

    Those named by id, those to an endpoint, or those of a period; without ids and --all only dead ones. Pending
    deliveries keep their place in the schedule.
    """
    if not delivery_ids and endpoint is None and since is None:
        raise InvalidOptions("name what to send again: DELIVERY_ID, --endpoint or --since (--until only narrows it)")
    check_ids([*(delivery_ids or ()), *((endpoint,) if endpoint is not None else ())])
    states: tuple[DeliveryState, ...] = ("dead", "delivered") if everything or delivery_ids else ("dead",)

    async def work(catalog: Catalog, _: Settings) -> int:
        from waybill.services.short_ids import find_delivery, find_endpoint
        from waybill.services.webhooks import replay_deliveries

        now = await catalog.now()
        async with catalog.connection() as connection:
            wanted = [await find_delivery(connection, one) for one in delivery_ids or ()] or None
            endpoint_id = await find_endpoint(connection, endpoint) if endpoint is not None else None
        return await replay_deliveries(
            catalog,
            states=states,
            delivery_ids=wanted,
            endpoint_id=endpoint_id,
            since=read_moment(since, now) if since is not None else None,
            until=read_moment(until, now) if until is not None else None,
            by=this_account(),
        )

    count = with_catalog(work)
    if as_json:
        print_json({"replayed": count})
        return 0
    typer.echo(f"{count} deliveries are due again")
    if count:
        print_notice("they are sent by 'waybill up' or 'waybill dispatch'")
    return 0


def test(
    endpoint_id: EndpointId,
    as_json: AsJson = False,
) -> int:
    """Send a test event to an endpoint and show the answer.

    Exit code 1 when the receiver did not accept it.
    """
    check_ids([endpoint_id])
    record = with_catalog(lambda catalog, settings: _test(catalog, settings, endpoint_id))
    succeeded = record.state == "delivered"
    if as_json:
        print_json(record.as_json())
    elif record.last_attempt_at is None:
        typer.echo("nothing was sent: the endpoint is held or disabled, or another dispatcher serves it")
    else:
        outcome = "delivered" if succeeded else f"failed: {record.last_error}"
        status = record.last_status if record.last_status is not None else "no answer"
        print_line(f"{outcome} ({status}, {record.last_milliseconds or 0:.0f} ms, {record.last_peer or 'no peer'})")
    return 0 if succeeded else 1


async def _test(catalog: Catalog, settings: Settings, endpoint_id: str) -> DeliveryRecord:
    from blocks.webhooks.dispatch import DispatcherThread
    from waybill.services.short_ids import find_endpoint
    from waybill.services.webhooks import add_test, first_attempt

    wanted = await find_one(catalog, find_endpoint, endpoint_id)
    async with DispatcherThread.open(settings):
        delivery_id = await add_test(catalog, wanted, by=this_account())
        return await first_attempt(catalog, delivery_id, within_seconds=_TEST_SECONDS)


def _one(delivery_id: str, as_json: bool) -> int:
    async def work(catalog: Catalog, _: Settings) -> DeliveryHistory:
        from waybill.services.short_ids import find_delivery
        from waybill.services.webhooks import delivery_history

        return await delivery_history(catalog, await find_one(catalog, find_delivery, delivery_id))

    found = with_catalog(work)
    if as_json:
        print_json(found.as_json())
        return 0
    record = found.record
    print_line(f"{record.event_type} {record.event_id} to {record.url}: {record.state}")
    print_table(
        ("started", "status", "ms", "peer", "error", "answer"),
        [
            (
                human_time(one["started_at"]),
                str(one["status"] or ""),
                f"{one['milliseconds']:.0f}",
                one["peer"] or "",
                one["error"] or "",
                " ".join((one["answer"] or "").split()),
            )
            for one in found.attempts
        ],
        numeric=("status", "ms"),
        prose=("error", "answer"),
        spare=("ms", "peer"),
    )
    return 0


def _row(one: DeliveryRecord) -> tuple[str, ...]:
    return (
        str(one.delivery_id),
        human_time(one.created_at.isoformat()),
        one.event_type,
        one.url,
        one.state,
        str(one.attempts),
        str(one.last_status or ""),
        f"{one.last_milliseconds:.0f}" if one.last_milliseconds is not None else "",
        one.last_error or "",
    )


def read_moment(text: str, now: datetime) -> datetime:
    """Return a point in time as typed: ISO 8601, or a duration before *now*. Raises `InvalidOptions`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _back(now, _ago(text))
    if moment.tzinfo is None:
        raise InvalidOptions(
            f"{text!r} does not say which time zone; write 2026-01-31T08:00Z or 2026-01-31T08:00+01:00"
        )
    return moment


def _back(now: datetime, length: timedelta) -> datetime:
    """Return *length* before *now*, or the earliest time there is."""
    return now - length if length < now - _FIRST_MOMENT else _FIRST_MOMENT


def _ago(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except InvalidOptions:
        raise InvalidOptions(f"{text!r} is no time; write 2026-01-31T08:00Z, or how long ago: 90s, 24h, 7d") from None
