"""Webhook secrets: their form, and how they are sealed for the database.

The form is that of Standard Webhooks, "Signature scheme": ``whsec_`` and base64 of 24 to 64 random bytes. In the
database each is an age file for the identity in ``WAYBILL_HOME/webhook-identity`` (`WAYBILL_WEBHOOK_IDENTITY_FILE`), so
that reading the database does not allow signing. The sealed text contains the secret's id: a secret that was copied to
another row does not open. Never logs a secret, and no error quotes one.
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
    """Return a new random secret, in the form that receivers get."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW_BYTES)).decode()


def secret_bytes(secret: str) -> bytes:
    """Return the key in *secret*, with or without its prefix. Raises `InvalidKey`, which never quotes it."""
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX).encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        # Without the cause, whose message quotes the text.
        raise InvalidKey(f"a webhook secret is {PREFIX} and base64; this one is not") from None
    if not MIN_BYTES <= len(key) <= MAX_BYTES:
        raise InvalidKey(f"a webhook secret has {MIN_BYTES} to {MAX_BYTES} bytes, not {len(key)}")
    return key


class SecretBox:
    """Seals secrets for the database and opens them. The identity is created when it is first needed."""

    def __init__(self, load: Callable[[bool], tuple[StorageIdentity, ...]]) -> None:
        self._load = load
        self._identities: tuple[StorageIdentity, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> SecretBox:
        """Return the box of the home, or of the identity file that *settings* name."""
        path = settings.resolved_webhook_identity_file
        return cls(lambda may_create: identities_of_its_own(path, may_create=may_create))

    def is_missing(self) -> bool:
        """Return whether there is no identity yet, or it was lost. Raises `InvalidSettings` for an unusable file."""
        self._identities = self._identities or self._load(False)
        return not self._identities

    def seal(self, secret_id: UUID, secret: str) -> bytes:
        """Return *secret* encrypted. Raises `InvalidKey` for a malformed one, and `InvalidSettings`."""
        secret_bytes(secret)
        self._identities = self._identities or self._load(True)
        text = json.dumps({"secret_id": str(secret_id), "secret": secret}).encode()
        return b"".join(seal([text], [self._identities[0].recipient]))

    def open(self, secret_id: UUID, sealed: bytes) -> str:
        """Return the secret in *sealed*. Raises `InvalidSettings` when it does not open here, or was moved."""
        try:
            return self._open(secret_id, sealed)
        except WaybillError:
            # Another process may have created or replaced the identity since it was read.
            self._identities = self._load(False)
        try:
            return self._open(secret_id, sealed)
        except InvalidSettings:
            raise
        except WaybillError as exc:
            raise InvalidSettings(
                "a webhook secret in the database cannot be opened with the keys here; give this machine the "
                "webhook-identity of the machine that sealed it (WAYBILL_WEBHOOK_IDENTITY_FILE), or make a new secret: "
                "waybill webhooks rotate"
            ) from exc

    def _open(self, secret_id: UUID, sealed: bytes) -> str:
        opened = b"".join(unseal([sealed], self._identities))
        try:
            found = cast("dict[str, str]", json.loads(opened))
            belongs_here, secret = found["secret_id"] == str(secret_id), found["secret"]
            secret_bytes(secret)
        except (ValueError, TypeError, LookupError, AttributeError, InvalidKey):
            # Without the cause, whose message may quote the secret.
            raise InvalidSettings(
                "a webhook secret in the database is not one; make a new one: waybill webhooks rotate"
            ) from None
        if not belongs_here:
            raise InvalidSettings("a webhook secret in the database belongs to another row; it was moved")
        return secret
