"""Read the keys that webhooks are signed with."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from blocks.catalog import Connection
from blocks.errors import InvalidSettings
from blocks.runtime.outage_log import Problems
from blocks.webhooks.registration import signing_keys
from blocks.webhooks.secrets import SecretBox

_LOG = logging.getLogger("waybill.delivery")


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
        for secret_id in found:
            self._problems.is_over(secret_id)
        return found

    async def _read_one(self, connection: Connection, secret_id: UUID) -> dict[UUID, tuple[bytes, ...]]:
        try:
            return await signing_keys(connection, self._box, [secret_id])
        except InvalidSettings as exc:
            if self._problems.is_new(secret_id):
                _LOG.error("secret=%s cannot be opened, its deliveries wait: %s", secret_id, exc.message)
            return {}
