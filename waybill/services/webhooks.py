"""What is done to endpoints and deliveries, with its line in the audit log; the same for the command line and the
gateway.

Owns that both commit together, and what counts as a test of an endpoint. Sends nothing: dispatchers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from blocks.access import Actor, record
from blocks.catalog import Catalog
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
from blocks.webhooks.send.address import AddressGuard

# Whoever takes longer to take up a new secret does not mean to; until then the old one, which may have been stolen,
# still signs.
MAX_OVERLAP = timedelta(days=90)
# How often a delivery is looked at that somebody waits for; an attempt takes milliseconds to 20 s.
_LOOK_SECONDS = 0.1

Change = Literal["enabled", "disabled", "removed"]


@dataclass(frozen=True, kw_only=True)
class DeliveryHistory:
    """A delivery and every attempt to make it."""

    record: DeliveryRecord
    attempts: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """As commands and the API show it."""
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
    by: Actor,
) -> Registered:
    """Register where events go; its secret is in the answer and nowhere else.

    Raises `InvalidWebhookUrl`, `AddressRefused`, `InvalidOptions` for unknown events, `InvalidKey` for a malformed
    *secret*.
    """
    wanted = check_event_types(events) if events is not None else None
    await guard.check(url)
    async with catalog.transaction() as connection:
        made = await registry.register(
            connection, SecretBox.of(settings), url=url, event_types=wanted, description=description, secret=secret
        )
        # Without its URL, in which some receivers want a token.
        await record(connection, by.entry("endpoint_added", detail=_of(made.endpoint.endpoint_id)))
    return made


async def change_endpoint(catalog: Catalog, endpoint_id: UUID, to: Change, *, by: Actor) -> Endpoint:
    """Send there again, or not for now, or never. Raises `EndpointNotFound`."""
    async with catalog.transaction() as connection:
        if to == "enabled":
            await endpoints.enable_endpoint(connection, endpoint_id)
        elif to == "disabled":
            await endpoints.disable_endpoint(connection, endpoint_id, "by hand")
        else:
            await endpoints.remove_endpoint(connection, endpoint_id)
        await record(connection, by.entry(f"endpoint_{to}", detail=_of(endpoint_id)))
        return await endpoints.get_endpoint(connection, endpoint_id)


async def rotate_secret(
    catalog: Catalog, settings: Settings, endpoint_id: UUID | None, overlap: timedelta, *, by: Actor
) -> Rotated:
    """Sign with a new secret; None stands for the one that all addresses share that come with runs.

    Raises `EndpointNotFound`, and `InvalidOptions` for an address that came with a run or a long *overlap*.
    """
    if overlap > MAX_OVERLAP:
        raise InvalidOptions(f"an old secret signs for {format_duration(MAX_OVERLAP)} at most beside the new one")
    box = SecretBox.of(settings)
    async with catalog.transaction() as connection:
        if endpoint_id is None:
            secret_id, _ = await registry.shared_secret(connection, box)
        else:
            secret_id = _own_secret(await endpoints.get_endpoint(connection, endpoint_id))
        made = await registry.rotate(connection, box, secret_id, overlap=overlap)
        detail = _of(endpoint_id) if endpoint_id is not None else {"of": "runs"}
        await record(connection, by.entry("secret_rotated", detail=detail))
    return made


async def delivery_history(catalog: Catalog, delivery_id: UUID) -> DeliveryHistory:
    """A delivery with its attempts, oldest first. Raises `DeliveryNotFound`."""
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
    by: Actor,
) -> int:
    """`delivery_log.replay`. Raises `DeliveryNotFound` for an unknown id, and then does nothing."""
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
            told = {name: value for name, value in which.items() if value is not None}
            await record(connection, by.entry("webhook_replayed", detail={"replayed": again, **told}))
    return again


async def add_test(catalog: Catalog, endpoint_id: UUID, *, by: Actor) -> UUID:
    """Have a test event sent to one endpoint; the id of its delivery. Raises `EndpointNotFound`."""
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
        return await add_event_for(connection, event, endpoint_id, lambda _: None)


async def first_attempt(catalog: Catalog, delivery_id: UUID, *, within_seconds: float) -> DeliveryRecord:
    """The delivery once it was tried, or as it is after *within_seconds*."""
    ends = asyncio.get_running_loop().time() + within_seconds
    while True:
        async with catalog.connection() as connection:
            found = await log.get_delivery(connection, delivery_id)
        if found.last_attempt_at is not None or asyncio.get_running_loop().time() > ends:
            return found
        await asyncio.sleep(_LOOK_SECONDS)


def _own_secret(endpoint: Endpoint) -> UUID:
    if endpoint.secret_id is None:
        raise EndpointNotFound(f"endpoint {endpoint.endpoint_id} was removed, and its secret with it")
    if endpoint.origin == "run":
        raise InvalidOptions("this address was given with a run; all such share one secret: webhooks rotate --runs")
    return endpoint.secret_id


def _of(endpoint_id: UUID) -> dict[str, str]:
    return {"endpoint_id": str(endpoint_id)}
