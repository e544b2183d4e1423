"""Operations on endpoints and deliveries. Each commits together with its entry in the audit log. Sends nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from blocks.access import Action, Actor, record
from blocks.catalog import Catalog, Connection
from blocks.durations import format_duration
from blocks.errors import EndpointNotFound, InvalidOptions
from blocks.settings import Settings
from blocks.webhooks import endpoints
from blocks.webhooks import registration as registry
from blocks.webhooks.endpoints import Endpoint
from blocks.webhooks.event_types import TEST_EVENT, check_event_types
from blocks.webhooks.outbox import DeliveryRecord, DeliveryState, Event, add_event_for
from blocks.webhooks.outbox import delivery_log as log
from blocks.webhooks.registration import Registered, Rotated
from blocks.webhooks.secrets import SecretBox
from blocks.webhooks.send.address import AddressGuard, guard_of, is_on_this_machine

# A longer overlap is a mistake: as long as it lasts, the old secret, which may be stolen, still signs.
MAX_OVERLAP = timedelta(days=90)
# The poll interval of a command that waits for an attempt, which takes milliseconds to 20 s.
_POLL_SECONDS = 0.1

Change = Literal["enabled", "disabled", "removed"]
_ACTIONS: Mapping[Change, Action] = {
    "enabled": "endpoint_enabled",
    "disabled": "endpoint_disabled",
    "removed": "endpoint_removed",
}


@dataclass(frozen=True, kw_only=True)
class DeliveryHistory:
    """A delivery and all of its attempts."""

    record: DeliveryRecord
    attempts: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return the delivery as commands and the API show it."""
        return {**self.record.as_json(), "attempts_made": self.attempts}


async def add_endpoint(
    catalog: Catalog,
    settings: Settings,
    *,
    url: str,
    events: Sequence[str] | None,
    description: str,
    secret: str | None = None,
    guard: AddressGuard,
    loopback_allowed: bool = False,
    by: Actor,
) -> Registered:
    """Register an endpoint. The result is the only place that has its secret in clear.

    Raises `InvalidWebhookUrl`, `AddressRefused`, `InvalidOptions` for unknown events, `InvalidKey` for a malformed
    *secret*.
    """
    wanted = check_event_types(events) if events is not None else None
    await guard.check(url)
    async with catalog.transaction() as connection:
        made = await registry.register(
            connection, SecretBox.of(settings), url=url, event_types=wanted, description=description, secret=secret,
            loopback_allowed=loopback_allowed,
        )  # fmt: skip
        # Without the URL, which may contain a token.
        await record(connection, by.entry("endpoint_added", detail=_of(made.endpoint.endpoint_id)))
    return made


async def operator_allows_loopback(settings: Settings, url: str, *, own_database: bool) -> bool:
    """Return whether *url*, given on the command line, is to be marked as one that may be on this machine.

    Only in a home with *own_database*: dispatchers of other machines may read one that the operator has named. And only
    where no setting says where webhooks may go.
    """
    is_undecided = own_database and "allow_private_webhooks" not in settings.given
    return is_undecided and await is_on_this_machine(url)


async def check_run_url(settings: Settings, url: str, *, own_database: bool) -> None:
    """Check the URL that the operator gives for one run, and let runs reach it if it is on this machine.

    A name that DNS does not know is accepted: the dispatcher looks it up for every connection. Raises
    `InvalidWebhookUrl`, `AddressRefused`.
    """
    allowed = await operator_allows_loopback(settings, url, own_database=own_database)
    guard_of(settings, loopback_allowed=allowed).check_url(url)
    if allowed:
        async with Catalog.open(settings.required_database_url) as catalog, catalog.transaction() as connection:
            await registry.allow_loopback_for_runs(connection, SecretBox.of(settings), url=url)


async def change_endpoint(catalog: Catalog, endpoint_id: UUID, to: Change, *, by: Actor) -> Endpoint:
    """Enable, disable or remove an endpoint. Raises `EndpointNotFound`."""
    given_up = 0
    async with catalog.transaction() as connection:
        if to == "enabled":
            await endpoints.enable_endpoint(connection, endpoint_id)
        elif to == "disabled":
            await endpoints.disable_endpoint(connection, endpoint_id, "by hand")
        else:
            given_up = await endpoints.remove_endpoint(connection, endpoint_id)
        await record(connection, by.entry(_ACTIONS[to], detail=_of(endpoint_id)))
        return replace(await endpoints.get_endpoint(connection, endpoint_id), given_up=given_up)


async def rotate_secret(
    catalog: Catalog, settings: Settings, endpoint_id: UUID | None, overlap: timedelta, *, by: Actor
) -> Rotated:
    """Replace the secret of an endpoint, or (None) the one that the endpoints of all runs share.

    Raises `EndpointNotFound`, and `InvalidOptions` for an endpoint of a run or a long *overlap*.
    """
    if overlap > MAX_OVERLAP:
        raise InvalidOptions(f"an old and a new secret may overlap for {format_duration(MAX_OVERLAP)} at most")
    box = SecretBox.of(settings)
    async with catalog.transaction() as connection:
        if endpoint_id is None:
            secret_id = await registry.shared_secret_id(connection, box)
        else:
            secret_id = _own_secret(await endpoints.get_endpoint(connection, endpoint_id))
        made = await registry.rotate(connection, box, secret_id, overlap=overlap)
        detail = _of(endpoint_id) if endpoint_id is not None else {"of": "runs"}
        await record(connection, by.entry("secret_rotated", detail=detail))
    return made


async def delivery_history(catalog: Catalog, delivery_id: UUID) -> DeliveryHistory:
    """Return a delivery with its attempts, oldest first. Raises `DeliveryNotFound`."""
    async with catalog.connection() as connection:
        return DeliveryHistory(
            record=await log.get_delivery(connection, delivery_id),
            attempts=await log.attempts_of(connection, delivery_id),
        )


async def replay_deliveries(
    catalog: Catalog,
    *,
    states: Sequence[DeliveryState],
    delivery_ids: Sequence[UUID] | None = None,
    endpoint_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    also: Callable[[Connection, int], Awaitable[None]] | None = None,
    by: Actor,
) -> int:
    """Do `delivery_log.replay` and record it in the audit log. Raises `DeliveryNotFound`, and then replays nothing.

    *also* writes more in the same transaction, given how many are replayed, or raises.
    """
    async with catalog.transaction() as connection:
        for one in delivery_ids or ():
            await log.get_delivery(connection, one)
        again = await log.replay(
            connection, states=states, delivery_ids=delivery_ids, endpoint_id=endpoint_id, since=since, until=until
        )
        if again:
            which = {
                "delivery_ids": [str(one) for one in delivery_ids] if delivery_ids is not None else None,
                "endpoint_id": str(endpoint_id) if endpoint_id is not None else None,
                "since": since.isoformat() if since is not None else None,
                "until": until.isoformat() if until is not None else None,
            }
            filters = {name: value for name, value in which.items() if value is not None}
            await record(connection, by.entry("webhook_replayed", detail={"replayed": again, **filters}))
        if also is not None:
            await also(connection, again)
    return again


async def add_test(
    catalog: Catalog,
    endpoint_id: UUID,
    *,
    also: Callable[[Connection, UUID], Awaitable[None]] | None = None,
    by: Actor,
) -> UUID:
    """Record a test event for one endpoint. Return the id of its delivery. Raises `EndpointNotFound`.

    *also* writes more in the same transaction, given that id, or raises.
    """
    event = Event(
        event_id=f"evt_{uuid4()}",
        event_type=TEST_EVENT,
        task_id=None,
        source_file=None,
        occurred_at=datetime.now(UTC),
        data={"message": "a test of this endpoint; nothing has happened"},
    )
    async with catalog.transaction() as connection:
        if (await endpoints.get_endpoint(connection, endpoint_id)).state == "removed":
            raise EndpointNotFound(f"endpoint {endpoint_id} was removed")
        await record(connection, by.entry("webhook_tested", detail=_of(endpoint_id)))
        delivery_id = await add_event_for(connection, event, endpoint_id, lambda _: None)
        if also is not None:
            await also(connection, delivery_id)
    return delivery_id


async def first_attempt(catalog: Catalog, delivery_id: UUID, *, within_seconds: float) -> DeliveryRecord:
    """Wait for the first attempt, at most *within_seconds*. Return the delivery as it is then."""
    ends = asyncio.get_running_loop().time() + within_seconds
    while True:
        async with catalog.connection() as connection:
            found = await log.get_delivery(connection, delivery_id)
        if found.last_attempt_at is not None or asyncio.get_running_loop().time() > ends:
            return found
        await asyncio.sleep(_POLL_SECONDS)


def _own_secret(endpoint: Endpoint) -> UUID:
    if endpoint.secret_id is None:
        raise EndpointNotFound(f"endpoint {endpoint.endpoint_id} was removed, and its secret with it")
    if endpoint.origin == "run":
        raise InvalidOptions("this endpoint came with a run; all of those share one secret: webhooks rotate --runs")
    return endpoint.secret_id


def _of(endpoint_id: UUID) -> dict[str, str]:
    return {"endpoint_id": str(endpoint_id)}
