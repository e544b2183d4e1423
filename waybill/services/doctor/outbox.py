"""Checks of webhooks: each event has its delivery for each endpoint, and deliveries are sent."""

from __future__ import annotations

from blocks.catalog import Catalog
from blocks.errors import WaybillError
from blocks.postgres import Row, fetch_all, fetch_row
from blocks.redaction import without_query
from blocks.settings import Settings
from blocks.webhooks.event_types import TEST_EVENT
from blocks.webhooks.outbox.deliveries import dispatcher_listens
from blocks.webhooks.secrets import SecretBox
from waybill.services.doctor.findings import Findings

# An endpoint counts from its commit on, which is a moment after its `created_at`. (`least`: nothing can be added to the
# last moment that Postgres knows.) A block's filter may have changed since, so its endpoint is compared only where it
# takes everything.
_WITHOUT_DELIVERY = """
    select event.event_id || ' ' || event.event_type || ' for ' || endpoint.endpoint_id as delivery
      from webhook_events event
      left join webhook_runs run on run.run_id = event.task_id
      join webhook_endpoints endpoint
        on endpoint.state <> 'removed' and event.event_type <> %(test_event)s
           and event.recorded_at > least(endpoint.created_at, clock_timestamp()) + interval '10 seconds'
           and case when endpoint.origin = 'run' then endpoint.endpoint_id = run.endpoint_id
                    when endpoint.event_types is null then true
                    else endpoint.origin <> 'block' and event.event_type = any(endpoint.event_types) end
      left join webhook_deliveries delivery
        on delivery.event_id = event.event_id and delivery.endpoint_id = endpoint.endpoint_id
     where delivery.delivery_id is null
     order by event.recorded_at
     limit 1000
"""
# The unique index forbids them, unless it is damaged.
_TWICE = """
    select event_id || ' for ' || endpoint_id as delivery from webhook_deliveries
     group by event_id, endpoint_id having count(*) > 1
"""
_SERVED = """
    select count(*) filter (where successes > 1) as delivered_again, coalesce(sum(attempts), 0)::bigint as attempts
      from (select count(*) as attempts,
                   count(*) filter (where status between 200 and 299 and error is null) as successes
              from webhook_attempts group by delivery_id) of_delivery
"""
_DELIVERIES = "select state, count(*) as count from webhook_deliveries group by state order by state"
_EVENTS = "select event_type, count(*) as count from webhook_events group by event_type order by event_type"
_ENDPOINTS = """
    select endpoint_id, url, state, disabled_because, failures, secret_id,
           held_because, held_until > clock_timestamp() as is_held, owner is not null as is_owned,
           owned_until < clock_timestamp() - make_interval(secs => %(seconds)s) as lease_is_old,
           (select count(*) from webhook_deliveries d where d.endpoint_id = e.endpoint_id and d.state = 'dead') as dead,
           (select count(*) from webhook_deliveries d
             where d.endpoint_id = e.endpoint_id and d.state = 'pending'
               and d.due_at < clock_timestamp() - make_interval(secs => %(seconds)s)) as overdue
      from webhook_endpoints e where state <> 'removed' order by created_at, endpoint_id
"""
_SECRETS = """
    select s.secret_id, s.shared, s.sealed,
           case when s.previous_until > clock_timestamp() then s.previous_sealed end as previous_sealed,
           e.endpoint_id, e.url
      from webhook_secrets s
      left join webhook_endpoints e on e.secret_id = s.secret_id and e.state <> 'removed' and not s.shared
     order by s.created_at, e.endpoint_id
"""


async def check_outbox(
    catalog: Catalog, found: Findings, *, dispatcher_is_running: bool, up_is_running: bool = False
) -> None:
    """Examine events, deliveries and endpoints in the database.

    *dispatcher_is_running*: the home has a dispatcher's process. Any that is connected to the database counts too.
    """
    with found.examining("deliveries"):
        async with catalog.connection() as connection:
            missing = [
                r["delivery"] for r in await fetch_all(connection, _WITHOUT_DELIVERY, {"test_event": TEST_EVENT})
            ]
            twice = [row["delivery"] for row in await fetch_all(connection, _TWICE, {})]
            served = await fetch_row(connection, _SERVED, {})
            found.counts["events"] = {r["event_type"]: r["count"] for r in await fetch_all(connection, _EVENTS, {})}
            deliveries = {row["state"]: row["count"] for row in await fetch_all(connection, _DELIVERIES, {})}
        found.counts["deliveries"] = deliveries
        found.counts["attempts"], found.counts["delivered_again"] = served["attempts"], served["delivered_again"]
        if missing:
            remedy = "these endpoints were never notified; the events are in: waybill events"
            found.problem("deliveries", "events have no delivery for an endpoint that wants them", remedy, missing)
        if twice:
            found.problem("deliveries", "events have several deliveries for one endpoint", "reindex the table", twice)
    with found.examining("overdue", "endpoints", "dead-deliveries"):
        seconds = found.tolerances.delivery_overdue.total_seconds()
        async with catalog.connection() as connection:
            endpoints = await fetch_all(connection, _ENDPOINTS, {"seconds": seconds})
            listens = await dispatcher_listens(connection)
        found.counts["dispatcher"] = "running" if listens else "not running"
        if up_is_running and not listens:
            remedy = "webhooks wait for it; see logs/dispatch.log in the home"
            found.warning("overdue", "no dispatcher is connected to the database", remedy)
        _report_endpoints(endpoints, found, dispatcher_is_running=dispatcher_is_running or listens)


async def check_secrets(catalog: Catalog, settings: Settings, found: Findings) -> None:
    """Examine whether the webhook identity here opens every secret."""
    with found.examining("stored-keys"):
        box = SecretBox.of(settings)
        async with catalog.connection() as connection:
            rows = await fetch_all(connection, _SECRETS, {})
        closed: list[str] = []
        for row in rows:
            try:
                for sealed in (row["sealed"], row["previous_sealed"]):
                    if sealed is not None:
                        box.open(row["secret_id"], sealed)
            except WaybillError:
                closed.append(_owner_of_secret(row))
        if closed:
            message = "webhook secrets cannot be opened here, so nothing is sent for them"
            remedy = (
                f"put {settings.resolved_webhook_identity_file} back; or make new secrets with the commands above, and "
                "give them to the receivers"
            )
            found.problem("stored-keys", message, remedy, closed)


def _owner_of_secret(row: Row) -> str:
    """Return whose secret it is, and the command that makes another one."""
    if row["shared"]:
        return "addresses that are given with a run: waybill webhooks rotate --runs"
    if row["endpoint_id"] is None:
        return f"secret {row['secret_id']} of no endpoint"
    return f"{row['endpoint_id']} {without_query(str(row['url']))}: waybill webhooks rotate {row['endpoint_id']}"


def _report_endpoints(endpoints: list[Row], found: Findings, *, dispatcher_is_running: bool) -> None:
    disabled = [row for row in endpoints if row["state"] == "disabled"]
    held = [row for row in endpoints if row["state"] == "enabled" and row["is_held"]]
    open_ = [row for row in endpoints if row["state"] == "enabled" and not row["is_held"]]
    if disabled:
        remedy = "when the receiver is back: waybill webhooks enable ENDPOINT_ID"
        found.warning("endpoints", "endpoints are disabled", remedy, _named(disabled, "disabled_because"))
    if held:
        remedy = "they are tried again by themselves; see: waybill webhooks deliveries"
        found.warning("endpoints", "endpoints are held after failures", remedy, _named(held, "held_because"))
    if overdue := [row for row in open_ if row["overdue"]]:
        if dispatcher_is_running:
            remedy = "see logs/dispatch.log in the home"
            found.problem("overdue", "deliveries are not sent", remedy, _named(overdue, "overdue"))
        else:
            remedy = "no dispatcher runs: waybill up, or waybill dispatch"
            found.warning("overdue", "deliveries wait for a dispatcher", remedy, _named(overdue, "overdue"))
    if leased := [row for row in open_ if row["is_owned"] and row["lease_is_old"]]:
        remedy = "a dispatcher died; another one takes them over as soon as it runs"
        found.warning("overdue", "leases ended long ago", remedy, _named(leased))
    if dead := [row for row in endpoints if row["dead"]]:
        remedy = "look at them with 'waybill webhooks deliveries --state dead', then: waybill webhooks replay"
        found.warning("dead-deliveries", "deliveries were given up", remedy, _named(dead, "dead"))


def _named(endpoints: list[Row], detail: str | None = None) -> list[str]:
    """Return each endpoint's id and URL, with the value of its column *detail*."""
    return [
        f"{row['endpoint_id']} {without_query(str(row['url']))}"
        + (f" ({row[detail]})" if detail is not None and row[detail] is not None else "")
        for row in endpoints
    ]
