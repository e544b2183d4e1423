"""The endpoints that this dispatcher may send to: taken, kept, and given back.

Owns the lanes, one for each. A lease counts in the database's time; by our clock it is used for a little less, counted
from before the question, so that ours is never the longer one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID, uuid4

from blocks.catalog import Catalog
from blocks.errors import Transient
from blocks.runtime.outage_log import OutageLog
from blocks.webhooks.dispatch.endpoint_worker import EndpointWorker, EndpointWorkerParts
from blocks.webhooks.dispatch.signing_keys import SigningKeys
from blocks.webhooks.outbox import deliveries
from blocks.webhooks.outbox.deliveries import RenewedEndpoint

_LOG = logging.getLogger("waybill.delivery")


class Leases:
    """`lanes` holds every endpoint that is ours, those too that are about to be given back."""

    def __init__(self, catalog: Catalog, keys: SigningKeys, parts: EndpointWorkerParts) -> None:
        self.owner = uuid4()
        self.lanes: dict[UUID, EndpointWorker] = {}
        self._catalog = catalog
        self._keys = keys
        self._parts = parts
        self._limits = parts.limits
        # Those that somebody with other keys has to send to, until when.
        self._shunned: dict[UUID, float] = {}

    async def acquire(self, endpoint_ids: Collection[UUID] | None) -> None:
        """Open lanes for what nobody has and where something is due; of *endpoint_ids* only, where given."""
        free = self._limits.lanes - len(self.lanes)
        if free <= 0:
            return
        now = self._parts.clock()
        self._shunned = {one: until for one, until in self._shunned.items() if until > now}
        async with self._catalog.connection() as connection:
            acquired = await deliveries.acquire(
                connection,
                self.owner,
                lease=self._lease,
                limit=free,
                endpoint_ids=endpoint_ids,
                without=[*self.lanes, *self._shunned],
            )
            if not acquired:
                return
            keys = await self._keys.read(connection, [one.secret_id for one in acquired])
        for one in acquired:
            if one.secret_id in keys:
                self.lanes[one.endpoint_id] = EndpointWorker(
                    one, self._parts, keys=keys[one.secret_id], lease_ends=self._usable_until(now)
                )
        without_keys = [one.endpoint_id for one in acquired if one.secret_id not in keys]
        self._shun(without_keys)
        await self._release(without_keys)

    async def keep(self) -> None:
        """Renew leases in time, until cancelled, and take up what has become of the endpoints."""
        outage = OutageLog(_LOG, "renewing leases")
        while True:
            try:
                await self._renew()
            except Transient as exc:
                outage.failed(exc)
                await asyncio.sleep(self._limits.retry_seconds)
            else:
                outage.succeeded()
                await asyncio.sleep(self._limits.renew_seconds)

    def close_idle(self) -> None:
        """Shut lanes that have had nothing to do for a while; at once when others wait for their place."""
        patience = self._limits.idle_seconds if len(self.lanes) < self._limits.lanes else 0.0
        for lane in self.lanes.values():
            if lane.idle_seconds > patience:
                lane.shut()

    async def give_back(self) -> None:
        """Let others have the endpoints of lanes that are shut, once all that came of their attempts is written."""
        through = [lane for lane in self.lanes.values() if lane.is_through]
        await self._release([lane.endpoint_id for lane in through if not lane.is_lost])
        for lane in through:
            del self.lanes[lane.endpoint_id]
            await lane.aclose()

    async def give_back_all(self) -> None:
        """Let others have everything, also what was taken without our hearing of it."""
        async with self._catalog.connection() as connection:
            await deliveries.release(connection, self.owner)
        self.lanes.clear()

    async def _renew(self) -> None:
        mine = {one: lane for one, lane in self.lanes.items() if not lane.is_lost}
        if not mine:
            return
        now = self._parts.clock()
        async with self._catalog.connection() as connection:
            renewed = await deliveries.renew(connection, self.owner, mine, lease=self._lease)
            keys = await self._keys.read(connection, [one.secret_id for one in renewed if one.secret_id is not None])
        still_mine = {one.endpoint_id: one for one in renewed}
        for endpoint_id, lane in mine.items():
            self._apply(lane, still_mine.get(endpoint_id), keys, self._usable_until(now))

    def _apply(
        self,
        lane: EndpointWorker,
        endpoint: RenewedEndpoint | None,
        keys: dict[UUID, tuple[bytes, ...]],
        lease_ends: float,
    ) -> None:
        if endpoint is None:
            # One that is shut may have been given back at this moment.
            if not lane.is_shut:
                _LOG.warning("endpoint=%s is no longer ours: removed, or another dispatcher has it", lane.endpoint_id)
            lane.lose()
        elif endpoint.state != "enabled" or endpoint.secret_id is None:
            lane.shut()
        elif endpoint.secret_id not in keys:
            self._shun([lane.endpoint_id])
            lane.shut()
        else:
            lane.renew(url=endpoint.url, keys=keys[endpoint.secret_id], lease_ends=lease_ends)

    def _shun(self, endpoint_ids: Collection[UUID]) -> None:
        """Leave endpoints that cannot be signed for here to others, for a while."""
        self._shunned |= dict.fromkeys(endpoint_ids, self._parts.clock() + self._limits.shun_seconds)

    async def _release(self, endpoint_ids: Collection[UUID]) -> None:
        if endpoint_ids:
            async with self._catalog.connection() as connection:
                await deliveries.release(connection, self.owner, endpoint_ids)

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self._limits.lease_seconds)

    def _usable_until(self, asked_at: float) -> float:
        return asked_at + self._limits.lease_seconds - self._limits.lease_margin_seconds
