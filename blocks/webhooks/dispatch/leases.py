"""Leases: the endpoints that this dispatcher may send to now. Acquires, renews and releases them.

Owns one `EndpointWorker` for each. A lease is counted by the database's clock. By this machine's clock it is used for a
little less, counted from before the query, so that the local lease never outlasts the one in the database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID, uuid4

from blocks.catalog import Catalog, Connection
from blocks.catalog.skipped_records import forget_skipped, report_skipped
from blocks.errors import InvalidSettings, Transient
from blocks.runtime.outage_log import OutageLog, Problems
from blocks.webhooks.dispatch.endpoint_worker import EndpointWorker, EndpointWorkerParts
from blocks.webhooks.outbox import deliveries
from blocks.webhooks.outbox.deliveries import RenewedEndpoint
from blocks.webhooks.registration import signing_keys
from blocks.webhooks.secrets import SecretBox

_LOG = logging.getLogger("waybill.delivery")


class Leases:
    """`workers` holds every leased endpoint, including those about to be released."""

    def __init__(self, catalog: Catalog, keys: SigningKeys, parts: EndpointWorkerParts) -> None:
        self.owner = uuid4()
        self.workers: dict[UUID, EndpointWorker] = {}
        self._catalog = catalog
        self._keys = keys
        self._parts = parts
        self._limits = parts.limits
        # Endpoints whose secret cannot be opened here, and until when they are not tried again.
        self._cooldown: dict[UUID, float] = {}

    async def acquire(self, endpoint_ids: Collection[UUID] | None) -> None:
        """Lease free endpoints that have a delivery due and start their workers; only *endpoint_ids*, where given."""
        free = self._limits.max_endpoints - len(self.workers)
        if free <= 0:
            return
        now = self._parts.clock()
        self._cooldown = {one: until for one, until in self._cooldown.items() if until > now}
        async with self._catalog.connection() as connection:
            acquired = await deliveries.acquire(
                connection,
                self.owner,
                lease=self._lease,
                limit=free,
                endpoint_ids=endpoint_ids,
                without=[*self.workers, *self._cooldown],
            )
            if not acquired:
                return
            keys = await self._keys.read(connection, [one.secret_id for one in acquired])
        for one in acquired:
            if one.secret_id in keys:
                self.workers[one.endpoint_id] = EndpointWorker(
                    one, self._parts, keys=keys[one.secret_id], lease_ends=self._usable_until(now)
                )
        without_keys = [one.endpoint_id for one in acquired if one.secret_id not in keys]
        self._cool_down(without_keys)
        await self._release(without_keys)

    async def renew_forever(self) -> None:
        """Renew the leases in time and apply changes of the endpoints, until cancelled."""
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

    def shut_idle(self) -> None:
        """Shut workers that have been idle for `Limits.idle_seconds`; without delay when no lease is free."""
        idle_seconds = self._limits.idle_seconds if len(self.workers) < self._limits.max_endpoints else 0.0
        for worker in self.workers.values():
            if worker.idle_seconds > idle_seconds:
                worker.shut()

    async def release_finished(self) -> None:
        """Release the endpoints of workers that are shut, once the outcomes of all their attempts are written."""
        finished = [worker for worker in self.workers.values() if worker.is_finished]
        await self._release([worker.endpoint_id for worker in finished if not worker.lease_is_lost])
        for worker in finished:
            del self.workers[worker.endpoint_id]
            await worker.aclose()

    async def release_all(self) -> None:
        """Release everything, including leases whose confirmation was lost with a connection."""
        async with self._catalog.connection() as connection:
            await deliveries.release(connection, self.owner)
        self.workers.clear()

    async def _renew(self) -> None:
        leased = {one: worker for one, worker in self.workers.items() if not worker.lease_is_lost}
        if not leased:
            return
        now = self._parts.clock()
        async with self._catalog.connection() as connection:
            renewed = await deliveries.renew(connection, self.owner, leased, lease=self._lease)
            keys = await self._keys.read(connection, [one.secret_id for one in renewed if one.secret_id is not None])
        by_id = {one.endpoint_id: one for one in renewed}
        for endpoint_id, worker in leased.items():
            self._apply(worker, by_id.get(endpoint_id), keys, self._usable_until(now))

    def _apply(
        self,
        worker: EndpointWorker,
        endpoint: RenewedEndpoint | None,
        keys: dict[UUID, tuple[bytes, ...]],
        lease_ends: float,
    ) -> None:
        if endpoint is None:
            # A worker that is shut may just have been released.
            if not worker.is_shut:
                _LOG.warning("endpoint=%s lease lost: removed, or leased by another dispatcher", worker.endpoint_id)
            worker.lose_lease()
        elif endpoint.state != "enabled" or endpoint.secret_id is None:
            worker.shut()
        elif endpoint.secret_id not in keys:
            self._cool_down([worker.endpoint_id])
            worker.shut()
        else:
            worker.renew(endpoint, keys=keys[endpoint.secret_id], lease_ends=lease_ends)

    def _cool_down(self, endpoint_ids: Collection[UUID]) -> None:
        """Leave endpoints that cannot be signed for here to other dispatchers for a while."""
        self._cooldown |= dict.fromkeys(endpoint_ids, self._parts.clock() + self._limits.cooldown_seconds)

    async def _release(self, endpoint_ids: Collection[UUID]) -> None:
        if endpoint_ids:
            async with self._catalog.connection() as connection:
                await deliveries.release(connection, self.owner, endpoint_ids)

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self._limits.lease_seconds)

    def _usable_until(self, queried_at: float) -> float:
        return queried_at + self._limits.lease_seconds - self._limits.lease_margin_seconds


class SigningKeys:
    """Reads keys from the database; logs a secret that cannot be opened once, until it opens again."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box
        self._problems = Problems()

    async def read(self, connection: Connection, secret_ids: Collection[UUID]) -> dict[UUID, tuple[bytes, ...]]:
        """Return the keys by secret id, newest first, without the secrets that cannot be opened here."""
        wanted = set(secret_ids)
        try:
            found = await signing_keys(connection, self._box, wanted)
        except InvalidSettings:
            found = dict[UUID, tuple[bytes, ...]]()
            for secret_id in wanted:
                found |= await self._read_one(connection, secret_id)
        opened = [str(secret_id) for secret_id in found if self._problems.is_over(secret_id)]
        await forget_skipped(connection, "secret", opened)
        return found

    async def _read_one(self, connection: Connection, secret_id: UUID) -> dict[UUID, tuple[bytes, ...]]:
        try:
            return await signing_keys(connection, self._box, [secret_id])
        except InvalidSettings as exc:
            if self._problems.is_new(secret_id):
                _LOG.error("secret=%s cannot be opened, its deliveries wait: %s", secret_id, exc.message)
            await report_skipped(connection, "secret", {str(secret_id): exc.message}, is_logged=True)
            return {}
