"""Sync endpoints with Prefect blocks of type ``webhook-endpoint``.

A block that is new, changed or deleted adds, changes or removes the endpoint of its name. A block that nothing can be
sent to is logged once, and its endpoint is disabled until the block is corrected. Never logs a secret.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.exceptions import ObjectNotFound

from blocks.catalog import Catalog, Connection
from blocks.catalog.skipped_records import forget_skipped, report_skipped
from blocks.errors import InvalidOptions, Permanent, WaybillError
from blocks.runs.prefect_lists import prefect_pages, unreadable_reason
from blocks.runtime.concurrency import bounded_map
from blocks.runtime.outage_log import Problems
from blocks.settings import Settings
from blocks.webhooks import endpoints
from blocks.webhooks import registration as registry
from blocks.webhooks.endpoints import Endpoint
from blocks.webhooks.event_types import check_event_types
from blocks.webhooks.secrets import SecretBox, secret_bytes
from blocks.webhooks.send.address import AddressGuard, guard_of

BLOCK_TYPE = "webhook-endpoint"
# Concurrent DNS look-ups; the resolver has threads for some more, which webhooks need too.
_CONCURRENT_CHECKS = 8
# Begins the reason of an endpoint that was disabled here, which only this sync may enable again.
_BECAUSE = "its block: "

_LOG = logging.getLogger("waybill.webhooks")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The fields of a block. Without a secret of its own its endpoint gets a new one."""

    url: str
    event_types: list[str] | None
    description: str
    secret: str | None = field(repr=False)


class EndpointBlocks:
    """Syncs the endpoints of one outbox with the blocks of one Prefect server."""

    def __init__(
        self, client: PrefectClient, catalog: Catalog, settings: Settings, *, guard: AddressGuard | None = None
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._box = SecretBox.of(settings)
        self._guard = guard or guard_of(settings)
        self._problems = Problems()
        self._unreadable: set[str] = set()

    async def sync(self) -> None:
        """Add, change and remove endpoints as the blocks are now.

        Raises the errors of Prefect's client, and `CatalogUnavailable`; then nothing is changed.
        """
        async with self._catalog.transaction() as connection:
            # Blocks are read under the lock, so that no process acts on older blocks than another one did.
            if not await endpoints.lock_blocks(connection):
                return
            found = await _read_blocks(self._client)
            if found is None:
                return
            blocks, unreadable = found
            before = await endpoints.endpoints_of_blocks(connection)
            # A block that cannot be listed may be there all the same: its endpoint stays as it is.
            gone = await self._gone(before.keys() - blocks.keys()) if unreadable else before.keys() - blocks.keys()
            # Before any row is changed and locked: dispatchers must not wait for DNS.
            wanted = await self._checked(blocks, before)
            known = await endpoints.endpoints_of_blocks(connection)
            for name, one in wanted.items():
                try:
                    # A savepoint: a defective block must not undo the changes of others.
                    async with connection.transaction():
                        await self._follow(connection, name, one, known.get(name))
                except Permanent as error:
                    self._report(name, error.message)
            # In the order of their ids, as everywhere, so that no two transactions wait for each other.
            for endpoint_id in sorted(known[name].endpoint_id for name in known.keys() & gone):
                await endpoints.remove_endpoint(connection, endpoint_id)
            unlisted = known.keys() - blocks.keys() - gone
            reasons = {name: why for why in unreadable[:1] for name in unlisted or {"?"}}
            await self._report_unreadable(connection, reasons)
            self._problems.keep(blocks)

    async def _checked(
        self, blocks: Mapping[str, Mapping[str, Any]], known: Mapping[str, Endpoint]
    ) -> dict[str, Wanted | WaybillError]:
        """Return the fields of each block, or the error in them, by name."""

        async def checked(name: str) -> tuple[str, Wanted | WaybillError]:
            endpoint = known.get(name)
            try:
                wanted = _wanted(blocks[name])
                if endpoint is None or endpoint.url != wanted.url or endpoint.state == "disabled":
                    await self._guard.check(wanted.url)
            except WaybillError as error:
                return name, error
            return name, wanted

        return dict([one async for one in bounded_map(_CONCURRENT_CHECKS, blocks, checked)])

    async def _follow(
        self, connection: Connection, name: str, wanted: Wanted | WaybillError, endpoint: Endpoint | None
    ) -> None:
        if isinstance(wanted, WaybillError):
            self._report(name, wanted.message)
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
        self._problems.is_over(name)

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
            current = await registry.open_secret(connection, self._box, endpoint.secret_id)
            if current != wanted.secret:
                # A change of the block is a rotation: receivers have time to adopt the new secret.
                await registry.rotate(connection, self._box, endpoint.secret_id, secret=wanted.secret)

    async def _gone(self, names: Collection[str]) -> set[str]:
        """Return those of *names* that no block has any more."""
        gone: set[str] = set()
        for name in names:
            try:
                await self._client.read_block_document_by_name(name, BLOCK_TYPE)
            except ObjectNotFound:
                gone.add(name)
            except Exception as error:
                if unreadable_reason(error) is None:
                    raise
        return gone

    async def _report_unreadable(self, connection: Connection, reasons: Mapping[str, str]) -> None:
        """Report blocks that cannot be read, by name; "?" is one without an endpoint, whose name nothing says."""
        await forget_skipped(connection, "block", self._unreadable - reasons.keys())
        await report_skipped(connection, "block", reasons)
        self._unreadable = set(reasons)

    def _report(self, name: str, message: str) -> None:
        if self._problems.is_new(name, message):
            _LOG.error("no webhooks are sent for the block %s/%s (%s)", BLOCK_TYPE, name, message)


async def try_to_sync_endpoint_blocks(settings: Settings) -> None:
    """Sync once, for a command that is about to record events. Never fails it."""
    try:
        async with Catalog.open(settings.required_database_url) as catalog, get_client() as client:
            await EndpointBlocks(client, catalog, settings).sync()
    except Exception as error:  # noqa: BLE001 - any client may have written a block
        _LOG.warning("webhook endpoints are not synced with their blocks now: %s", str(error) or type(error).__name__)


async def _read_blocks(client: PrefectClient) -> tuple[dict[str, Mapping[str, Any]], list[str]] | None:
    """Return the fields of every block of the type, by name, and why each of the others cannot be read.

    None when this server does not know the type.
    """
    try:
        block_type = await client.read_block_type_by_slug(BLOCK_TYPE)
    except ObjectNotFound:
        return None

    async def read(*, limit: int, offset: int) -> list[BlockDocument]:
        # The list of one block type alone has no pages.
        these = {"block_type_id": {"any_": [str(block_type.id)]}, "is_anonymous": {"eq_": False}}
        response = await client.request(
            "POST",
            "/block_documents/filter",
            json={"block_documents": these, "limit": limit, "offset": offset, "include_secrets": True},
        )
        response.raise_for_status()
        return BlockDocument.model_validate_list(response.json())

    unreadable: list[str] = []
    pages = prefect_pages(read, on_unreadable=unreadable.append)
    blocks: dict[str, Mapping[str, Any]] = {
        str(block.name): block.data async for page in pages for block in page if block.name is not None
    }
    return blocks, unreadable


def _wanted(data: Mapping[str, Any]) -> Wanted:
    """Raise `InvalidOptions` or `InvalidKey` for malformed fields: any client of Prefect's API may write a block."""
    url, events, secret = data.get("url"), data.get("events"), data.get("secret")
    if not isinstance(url, str):
        raise InvalidOptions("its url is missing")
    if events is not None and not isinstance(events, list):
        raise InvalidOptions("its events are not a list of names")
    names = [str(name) for name in cast("Sequence[Any]", events or [])]
    if secret:
        secret_bytes(str(secret))
    return Wanted(
        url=url,
        event_types=check_event_types(names) if names else None,
        description=str(data.get("description") or "").replace("\x00", ""),
        secret=str(secret) if secret else None,
    )
