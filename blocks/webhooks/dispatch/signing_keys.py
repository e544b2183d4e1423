"""The keys that endpoints are signed for with, and what happens where one cannot be opened."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from blocks.catalog import Connection
from blocks.errors import InvalidSettings
from blocks.webhooks.registration import signing_keys
from blocks.webhooks.secrets import SecretBox

_LOG = logging.getLogger("waybill.delivery")


class SigningKeys:
    """Reads keys from the database. A secret that cannot be opened is told once, until it can be opened again."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box
        self._told: set[UUID] = set()

    async def read(self, connection: Connection, secret_ids: Collection[UUID]) -> dict[UUID, tuple[bytes, ...]]:
        """The keys by secret id, newest first; without those that cannot be opened here."""
        wanted = set(secret_ids)
        try:
            found = await signing_keys(connection, self._box, wanted)
        except InvalidSettings:
            found = dict[UUID, tuple[bytes, ...]]()
            for secret_id in wanted:
                found |= await self._read_one(connection, secret_id)
        self._told -= found.keys()
        return found

    async def _read_one(self, connection: Connection, secret_id: UUID) -> dict[UUID, tuple[bytes, ...]]:
        try:
            return await signing_keys(connection, self._box, [secret_id])
        except InvalidSettings as exc:
            if secret_id not in self._told:
                _LOG.error("secret=%s cannot be opened, its deliveries wait: %s", secret_id, exc.message)
            self._told.add(secret_id)
            return {}
