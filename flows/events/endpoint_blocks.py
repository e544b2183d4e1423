"""Endpoints that follow Prefect blocks: who saves a block of type ``webhook-endpoint`` is told events from then on.

Owns the comparison: a block that is new, changed or gone makes, changes or removes the endpoint of its name. A block
that cannot be sent to is told in the log once and gets nothing until it is put right. Never logs a secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

import httpx
from prefect import get_client
from prefect.client.orchestration import PrefectClient

from blocks.catalog import Catalog, Connection
from blocks.errors import InvalidOptions, Permanent, WaybillError
from blocks.settings import Settings
from blocks.webhooks import endpoints
from blocks.webhooks import registration as registry
from blocks.webhooks.endpoints import Endpoint
from blocks.webhooks.event_types import check_event_types
from blocks.webhooks.secrets import SecretBox, secret_bytes
from blocks.webhooks.send.address import AddressGuard

BLOCK_TYPE = "webhook-endpoint"
# What Prefect's API gives at most in one answer.
_PAGE = 200
# Names that DNS is asked for at the same time; the resolver has threads for some more, and webhooks need them too.
_VETTED_AT_ONCE = 8
# Begins the reason for which an endpoint is disabled here, and may be enabled here again.
_BECAUSE = "its block: "

_LOG = logging.getLogger("waybill.webhooks")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a block asks for. Without a secret of its own its endpoint gets a fresh one."""

    url: str
    event_types: list[str] | None
    description: str
    secret: str | None = field(repr=False)


class EndpointBlocks:
    """Lets the endpoints of one outbox follow the blocks of one Prefect server."""

    def __init__(
        self, client: PrefectClient, catalog: Catalog, settings: Settings, *, guard: AddressGuard | None = None
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._box = SecretBox.of(settings)
        self._guard = guard or AddressGuard(settings.allow_private_webhooks)
        # What was told of each block, so that it is told once.
        self._told: dict[str, str] = {}

    async def sync(self) -> None:
        """Add, change and remove endpoints as the blocks are now. Raises what Prefect's client raises, and
        `CatalogUnavailable`; then everything is as before."""
        async with self._catalog.transaction() as connection:
            # Looked at under the lock: nobody acts on blocks as they were before somebody else's look.
            if not await endpoints.lock_blocks(connection):
                return
            blocks = await _read_blocks(self._client)
            if blocks is None:
                return
            # Before anything is changed: DNS takes its time, and dispatchers must not wait for rows of ours meanwhile.
            wanted = await self._vetted(blocks, await endpoints.endpoints_of_blocks(connection))
            known = await endpoints.endpoints_of_blocks(connection)
            for name, one in wanted.items():
                try:
                    # A savepoint: what one block breaks is its own affair.
                    async with connection.transaction():
                        await self._follow(connection, name, one, known.get(name))
                except Permanent as error:
                    self._tell(name, error.message)
            # In the order in which everybody locks them.
            for endpoint_id in sorted(known[name].endpoint_id for name in known.keys() - blocks.keys()):
                await endpoints.remove_endpoint(connection, endpoint_id)
            self._told = {name: told for name, told in self._told.items() if name in blocks}

    async def _vetted(
        self, blocks: Mapping[str, Mapping[str, Any]], known: Mapping[str, Endpoint]
    ) -> dict[str, Wanted | WaybillError]:
        """What each block asks for, or what is wrong with it."""
        lanes = asyncio.Semaphore(_VETTED_AT_ONCE)

        async def vetted(name: str, data: Mapping[str, Any]) -> Wanted | WaybillError:
            endpoint = known.get(name)
            try:
                wanted = _wanted(data)
                if endpoint is None or endpoint.url != wanted.url or endpoint.state == "disabled":
                    async with lanes:
                        await self._guard.check(wanted.url)
            except WaybillError as error:
                return error
            return wanted

        found = await asyncio.gather(*(vetted(name, data) for name, data in blocks.items()))
        return dict(zip(blocks, found, strict=True))

    async def _follow(
        self, connection: Connection, name: str, wanted: Wanted | WaybillError, endpoint: Endpoint | None
    ) -> None:
        if isinstance(wanted, WaybillError):
            self._tell(name, wanted.message)
            if endpoint is not None and endpoint.state == "enabled":
                await endpoints.disable_endpoint(connection, endpoint.endpoint_id, _BECAUSE + wanted.message)
            return
        if endpoint is None:
            await registry.register(
                connection, self._box, origin="block", name=name, url=wanted.url, event_types=wanted.event_types,
                description=wanted.description, secret=wanted.secret,
            )  # fmt: skip
        else:
            await self._change(connection, endpoint, wanted)
        self._told.pop(name, None)

    async def _change(self, connection: Connection, endpoint: Endpoint, wanted: Wanted) -> None:
        moved = endpoint.url != wanted.url
        if moved or (endpoint.event_types, endpoint.description) != (wanted.event_types, wanted.description):
            await endpoints.change_endpoint(
                connection,
                endpoint.endpoint_id,
                url=wanted.url,
                event_types=wanted.event_types,
                description=wanted.description,
            )
        if endpoint.state == "disabled" and (moved or (endpoint.disabled_because or "").startswith(_BECAUSE)):
            await endpoints.enable_endpoint(connection, endpoint.endpoint_id)
        if wanted.secret is not None and endpoint.secret_id is not None:
            sealed = (await endpoints.sealed_secrets(connection, [endpoint.secret_id]))[endpoint.secret_id].sealed
            if self._box.open(endpoint.secret_id, sealed) != wanted.secret:
                # A change of the block is a rotation: the consumer has time to take the new secret up.
                renewed = self._box.seal(endpoint.secret_id, wanted.secret)
                await endpoints.rotate_secret(connection, endpoint.secret_id, renewed, registry.DEFAULT_OVERLAP)

    def _tell(self, name: str, message: str) -> None:
        if self._told.get(name) != message:
            self._told[name] = message
            _LOG.error("the block %s/%s tells nobody: %s", BLOCK_TYPE, name, message)


async def try_to_sync_endpoint_blocks(settings: Settings) -> None:
    """Let the endpoints follow the blocks once, for a command that is about to tell something. Never fails it."""
    try:
        async with Catalog.open(settings.required_database_url) as catalog, get_client() as client:
            await EndpointBlocks(client, catalog, settings).sync()
    except Exception as error:  # noqa: BLE001 - anybody may have written a block
        _LOG.warning("webhook endpoints do not follow their blocks now: %s", str(error) or type(error).__name__)


async def _read_blocks(client: PrefectClient) -> dict[str, Mapping[str, Any]] | None:
    """What every block of the type holds, by name; None where this server has never heard of the type."""
    found: dict[str, Mapping[str, Any]] = {}
    offset = 0
    while True:
        try:
            page = await client.read_block_documents_by_type(BLOCK_TYPE, offset=offset, limit=_PAGE)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == HTTPStatus.NOT_FOUND:
                return None
            raise
        found.update({block.name: block.data for block in page if block.name is not None})
        if len(page) < _PAGE:
            return found
        offset += len(page)


def _wanted(data: Mapping[str, Any]) -> Wanted:
    """Raises `InvalidOptions` and `InvalidKey`: anybody may write a block through Prefect's API."""
    url, events, secret = data.get("url"), data.get("events"), data.get("secret")
    if not isinstance(url, str):
        raise InvalidOptions("its url is missing")
    if events is not None and not isinstance(events, list):
        raise InvalidOptions("its events are no list of names")
    names = [str(name) for name in cast("Sequence[Any]", events or [])]
    if secret:
        secret_bytes(str(secret))
    return Wanted(
        url=url,
        event_types=check_event_types(names) if names else None,
        description=str(data.get("description") or "").replace("\x00", ""),
        secret=str(secret) if secret else None,
    )
