"""Register endpoints with their secrets, rotate the secrets, and read the keys to sign with.

Every call takes the caller's connection. Does not check URLs: the caller does before, with an `AddressGuard`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from blocks.catalog import Connection
from blocks.errors import EndpointNotFound, InvalidWebhookUrl
from blocks.webhooks import endpoints
from blocks.webhooks.endpoints import Endpoint, Origin
from blocks.webhooks.secrets import SecretBox, new_secret, secret_bytes
from blocks.webhooks.send.address import MAX_URL_CHARS

# The time that receivers have to adopt a new secret; both sign meanwhile.
DEFAULT_OVERLAP = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """An endpoint and its secret."""

    endpoint: Endpoint
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Rotated:
    """The new secret, and until when the previous one signs too."""

    secret: str = field(repr=False)
    previous_until: datetime


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
) -> Registered:
    """Add an endpoint with a secret of its own: *secret*, or a new one. The caller has to open a transaction."""
    secret_id, given = uuid4(), secret or new_secret()
    await endpoints.add_secret(connection, secret_id, box.seal(secret_id, given))
    endpoint = await endpoints.add_endpoint(
        connection,
        endpoint_id=uuid4(),
        origin=origin,
        url=url,
        secret_id=secret_id,
        event_types=event_types,
        name=name,
        description=description,
    )
    return Registered(endpoint=endpoint, secret=given)


async def shared_secret(connection: Connection, box: SecretBox) -> tuple[UUID, str]:
    """Return the id and the secret that the endpoints of all runs share; created when first needed."""
    secret_id = await endpoints.shared_secret_id(connection)
    if secret_id is None:
        offered = uuid4()
        await endpoints.offer_shared_secret(connection, offered, box.seal(offered, new_secret()))
        secret_id = await endpoints.shared_secret_id(connection)
    if secret_id is None:
        raise AssertionError("unreachable: the secret was added, and nothing removes it")
    return secret_id, await open_secret(connection, box, secret_id)


async def set_run_webhook(connection: Connection, box: SecretBox, *, run_id: UUID, url: str) -> None:
    """Send the events of *run_id* to *url* too, signed with the shared secret. Idempotent.

    Raises `InvalidWebhookUrl` for a URL that is too long: nothing would ever be sent to it.
    """
    if len(url) > MAX_URL_CHARS:
        raise InvalidWebhookUrl(f"it is longer than {MAX_URL_CHARS} characters")
    secret_id = await endpoints.shared_secret_id(connection)
    if secret_id is None:
        secret_id, _ = await shared_secret(connection, box)
    await endpoints.set_run_webhook(connection, run_id, url, secret_id)


async def rotate(
    connection: Connection, box: SecretBox, secret_id: UUID, *, overlap: timedelta = DEFAULT_OVERLAP
) -> Rotated:
    """Replace the secret by a new one; for *overlap* the previous one signs too."""
    secret = new_secret()
    until = await endpoints.rotate_secret(connection, secret_id, box.seal(secret_id, secret), overlap)
    return Rotated(secret=secret, previous_until=until)


async def open_secret(connection: Connection, box: SecretBox, secret_id: UUID) -> str:
    """Return the current secret. Raises `EndpointNotFound`, and `InvalidSettings` when it cannot be opened."""
    found = await endpoints.sealed_secrets(connection, [secret_id])
    if secret_id not in found:
        raise EndpointNotFound("this endpoint has no secret any more; it was removed")
    return box.open(secret_id, found[secret_id].sealed)


async def signing_keys(
    connection: Connection, box: SecretBox, secret_ids: Collection[UUID]
) -> dict[UUID, tuple[bytes, ...]]:
    """Return the keys to sign with, by secret id: the current one, and the previous one while the two overlap.

    Raises `InvalidSettings` when a secret cannot be opened.
    """
    keys: dict[UUID, tuple[bytes, ...]] = {}
    for secret_id, found in (await endpoints.sealed_secrets(connection, list(secret_ids))).items():
        sealed = [found.sealed, *([found.previous_sealed] if found.previous_sealed else [])]
        keys[secret_id] = tuple(secret_bytes(box.open(secret_id, one)) for one in sealed)
    return keys
