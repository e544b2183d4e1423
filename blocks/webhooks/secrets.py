"""The secrets that webhooks are signed with: their form, and how they lie in the database.

The form is that of Standard Webhooks, "Signature scheme": ``whsec_`` and base64 of 24 to 64 random bytes. In the
database each is an age file for the identity in ``WAYBILL_HOME/webhook-identity`` (`WAYBILL_WEBHOOK_IDENTITY_FILE`), so
that who reads the database can sign nothing. The sealed text names the secret's id: one row's secret put into another
row does not open. Never logs or tells a secret.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Callable
from typing import cast
from uuid import UUID

from blocks.age import seal, unseal
from blocks.errors import InvalidKey, InvalidSettings, WaybillError
from blocks.keys import StorageIdentity, identities_of_its_own
from blocks.settings import Settings

PREFIX = "whsec_"
MIN_BYTES, MAX_BYTES = 24, 64
# As long as the output of SHA-256; more adds nothing to an HMAC (RFC 2104, section 3).
_NEW_BYTES = 32


def new_secret() -> str:
    """A fresh secret, as consumers are given it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """The key in *secret*, with or without its prefix. Raises `InvalidKey`; the message never holds it."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX).encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        # Without the cause, which quotes the text.
        raise InvalidKey(f"a webhook secret is {PREFIX} and base64; this one is not") from None
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise InvalidKey(f"a webhook secret has {MIN_BYTES} to {MAX_BYTES} bytes, not {len(key)}")
    return key


class SecretBox:
    """Seals secrets for the database and opens them again. The identity is made on first need."""

    def __init__(self, load: Callable[[bool], tuple[StorageIdentity, ...]]) -> None:
        self._load = load
        self._identities: tuple[StorageIdentity, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> SecretBox:
        """The box of this home, or of the file that the environment names."""
        path = settings.resolved_webhook_identity_file
        return cls(lambda may_create: identities_of_its_own(path, may_create=may_create))

    def seal(self, secret_id: UUID, secret: str) -> bytes:
        """*secret* as it may lie in a database. Raises `InvalidKey` for a malformed one, and `InvalidSettings`."""
        secret_bytes(secret)
        self._identities = self._identities or self._load(True)
        text = json.dumps({"secret_id": str(secret_id), "secret": secret}).encode()
        return b"".join(seal([text], [self._identities[0].recipient]))

    def open(self, secret_id: UUID, sealed: bytes) -> str:
        """The secret in *sealed*. Raises `InvalidSettings` when it was sealed elsewhere, changed or swapped."""
        try:
            return self._open(secret_id, sealed)
        except WaybillError:
            # Another process may have made or exchanged the identity since it was read.
            self._identities = self._load(False)
        try:
            return self._open(secret_id, sealed)
        except InvalidSettings:
            raise
        except WaybillError as exc:
            raise InvalidSettings(
                "a webhook secret in the database cannot be opened with the keys here; give this machine the "
                "webhook-identity of the one that made it (WAYBILL_WEBHOOK_IDENTITY_FILE), or make a new secret: "
                "waybill webhooks rotate"
            ) from exc

    def _open(self, secret_id: UUID, sealed: bytes) -> str:
        found = cast("dict[str, str]", json.loads(b"".join(unseal([sealed], self._identities))))
        if found["secret_id"] != str(secret_id):
            raise InvalidSettings("a webhook secret in the database belongs to another row; somebody has moved it")
        return found["secret"]
