"""Register endpoints with their secrets, rotate the secrets, and read the keys to sign with.

The endpoints of all runs share one secret. URLs are not checked here: the caller does before, with an `AddressGuard`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from blocks.catalog import Connection
from blocks.errors import EndpointNotFound, InvalidSettings, InvalidWebhookUrl
from blocks.postgres import Row, execute, fetch_all, fetch_optional, fetch_row
from blocks.webhooks import endpoint_queries as queries
from blocks.webhooks.endpoints import Endpoint, Origin
from blocks.webhooks.secrets import SecretBox, new_secret, secret_bytes
from blocks.webhooks.send.address import parse_webhook_url

log = logging.getLogger("waybill.delivery")

# The time that receivers have to adopt a new secret; both sign meanwhile.
DEFAULT_OVERLAP = timedelta(hours=24)
# The endpoint of a URL may be removed between the two statements.
_ADDING_TRIES = 4


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An endpoint and its secret."""

    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """The new secret, and until when the previous one signs too; not at all where it could not be opened."""

    secret: str = field(repr=False)
    previous_until: datetime
    previous_is_lost: bool = False


async def register(
    connection: Connection,
    box: SecretBox,
    *,
    url: str,
    event_types: Sequence[str] | None = None,
    description: str = "",
    origin: Origin = "registered",
    name: str | None = None,
    secret: str | None = None,
    loopback_allowed: bool = False,
) -> Registered:
    """Add an endpoint for events from now on, with *secret* or a new one, in the caller's transaction.

    *loopback_allowed* only where the operator has given the URL on the command line.
    Warns when earlier secrets are sealed for a key pair that is missing here.
    """
    if box.is_missing() and (await fetch_row(connection, queries.COUNT_SECRETS, {}))["secrets"]:
        log.warning(
            "webhook secrets in the database are encrypted for a key pair that is not here, and a new one is created; "
            "restore webhook-identity from its backup (put its lines below the new ones), name it in "
            "WAYBILL_WEBHOOK_IDENTITY_FILE, or make a new secret for each endpoint: waybill webhooks rotate"
        )
    secret_id, given = uuid4(), secret or new_secret()
    sealed = {"secret_id": secret_id, "sealed": box.seal(secret_id, given)}
    await execute(connection, queries.ADD_SECRET, sealed)
    values = {
        "endpoint_id": uuid4(),
        "origin": origin,
        "name": name,
        "url": url,
        "event_types": list(event_types) if event_types is not None else None,
        "description": description,
        "secret_id": secret_id,
        "loopback_allowed": loopback_allowed,
    }
    row = await fetch_row(connection, queries.ADD_ENDPOINT, values)
    return Registered(endpoint=Endpoint(**row), secret=given)


async def shared_secret(connection: Connection, box: SecretBox) -> tuple[UUID, str]:
    """Return the id and the secret that the endpoints of all runs share; created when first needed."""
    secret_id = await shared_secret_id(connection, box)
    return secret_id, await open_secret(connection, box, secret_id)


async def set_run_webhook(connection: Connection, box: SecretBox, *, run_id: UUID, url: str) -> bool:
    """Send the events of *run_id* to *url* too, signed with the shared secret. Idempotent: a run keeps its first URL.

    Returns whether the operator has allowed runs to reach this URL on this machine. Raises `InvalidWebhookUrl` where
    another URL has the same MD5 sum, and for what is no URL of a webhook: nothing would ever be sent to it.
    """
    endpoint = await _run_endpoint(connection, box, url)
    await execute(connection, queries.ADD_RUN, {"run_id": run_id, "endpoint_id": endpoint["endpoint_id"]})
    return bool(endpoint["loopback_allowed"])


async def allow_loopback_for_runs(connection: Connection, box: SecretBox, *, url: str) -> None:
    """Let runs reach *url* on this machine, which the operator has given on the command line; until it is removed.

    Raises like `set_run_webhook`.
    """
    endpoint = await _run_endpoint(connection, box, url)
    await execute(connection, queries.ALLOW_LOOPBACK, {"endpoint_id": endpoint["endpoint_id"]})


async def _run_endpoint(connection: Connection, box: SecretBox, url: str) -> Row:
    """Return the endpoint that all runs with *url* share, after adding it if there is none."""
    # No endpoint for what can never be sent: it would be listed as enabled for ever, with dead deliveries alone.
    parse_webhook_url(url)
    secret_id = await shared_secret_id(connection, box)
    for _ in range(_ADDING_TRIES):
        endpoint = await fetch_optional(connection, queries.RUN_ENDPOINT, {"url": url})
        if endpoint is not None:
            return endpoint
        values = {"endpoint_id": uuid4(), "url": url, "secret_id": secret_id}
        await execute(connection, queries.ADD_RUN_ENDPOINT, values)
    raise InvalidWebhookUrl("it has the same MD5 sum as the URL of another run, which does not happen by chance")


async def rotate(
    connection: Connection,
    box: SecretBox,
    secret_id: UUID,
    *,
    secret: str | None = None,
    overlap: timedelta = DEFAULT_OVERLAP,
) -> Rotated:
    """Replace the secret by *secret*, or a new one; for *overlap* the previous one signs too.

    A previous one that cannot be opened here does not: nothing would be signed as long as it should. Raises
    `EndpointNotFound` when there is none any more.
    """
    is_lost = not await _opens(connection, box, secret_id)
    given = secret or new_secret()
    sealed = box.seal(secret_id, given)
    seconds = 0.0 if is_lost else overlap.total_seconds()
    values = {"secret_id": secret_id, "sealed": sealed, "overlap_seconds": seconds}
    row = await fetch_optional(connection, queries.ROTATE_SECRET, values)
    if row is None:
        raise _no_secret()
    return Rotated(secret=given, previous_until=row["previous_until"], previous_is_lost=is_lost)


async def open_secret(connection: Connection, box: SecretBox, secret_id: UUID) -> str:
    """Return the current secret. Raises `EndpointNotFound`, and `InvalidSettings` when it cannot be opened."""
    found = await _sealed(connection, [secret_id])
    if not found:
        raise _no_secret()
    return box.open(secret_id, found[0]["sealed"])


async def signing_keys(
    connection: Connection, box: SecretBox, secret_ids: Collection[UUID]
) -> dict[UUID, tuple[bytes, ...]]:
    """Return the keys to sign with, by secret id: the current one, and the previous one while the two overlap.

    Raises `InvalidSettings` when a secret cannot be opened.
    """
    keys: dict[UUID, tuple[bytes, ...]] = {}
    for row in await _sealed(connection, secret_ids):
        secret_id, sealed = row["secret_id"], (row["sealed"], row["previous_sealed"])
        keys[secret_id] = tuple(secret_bytes(box.open(secret_id, one)) for one in sealed if one is not None)
    return keys


async def shared_secret_id(connection: Connection, box: SecretBox) -> UUID:
    """Return the id of the secret that the endpoints of all runs share, also of one that cannot be opened here."""
    row = await fetch_optional(connection, queries.SHARED_SECRET, {})
    if row is None:
        offered = uuid4()
        values = {"secret_id": offered, "sealed": box.seal(offered, new_secret())}
        await execute(connection, queries.ADD_SHARED_SECRET, values)
        # Another process may have been first. Nothing removes a shared secret.
        row = await fetch_row(connection, queries.SHARED_SECRET, {})
    return row["secret_id"]


async def _opens(connection: Connection, box: SecretBox, secret_id: UUID) -> bool:
    try:
        await open_secret(connection, box, secret_id)
    except InvalidSettings:
        return False
    return True


async def _sealed(connection: Connection, secret_ids: Collection[UUID]) -> list[Row]:
    return await fetch_all(connection, queries.SECRETS, {"secret_ids": list(secret_ids)})


def _no_secret() -> EndpointNotFound:
    return EndpointNotFound("this endpoint has no secret any more; it was removed")
