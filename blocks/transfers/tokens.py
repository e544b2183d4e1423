"""Tokens of transfers: one transfer, one direction, and one worker or any bearer.

A token is a signed link of its own scope (`blocks.links.tokens`), so what one direction allows the other does not.
Whether the transfer is still open is the catalogue's to say: a token that is valid here may be refused there.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from blocks.links import LinkKeys
from blocks.links.tokens import GATEWAY, MAX_LEEWAY, Grant, audience_of_worker, check, issue
from blocks.runtime.clock import Clock, utc_now
from blocks.transfers.transfer import Direction, Transfer

# Of a worker's token: long enough for a large file, and a lost one is soon worth nothing. A worker asks for another.
WORKER_TOKEN_LIFETIME = timedelta(hours=1)

_SCOPES: dict[Direction, str] = {"download": "transfer-download", "upload": "transfer-upload"}


def audience_of(worker: str | None) -> str:
    """Return the audience of tokens for *worker*, or for any bearer."""
    return GATEWAY if worker is None else audience_of_worker(worker)


class TransferTokens:
    """Makes and checks tokens with the link signing keys."""

    def __init__(self, keys: LinkKeys, *, clock: Clock = utc_now) -> None:
        self._keys = keys
        self._clock = clock

    def issue(self, transfer: Transfer) -> tuple[str, datetime]:
        """Return a token for *transfer* and when it expires: with the transfer, or earlier for a worker.

        Raises `InvalidOptions` for a transfer that is about to expire, and `InvalidSettings` without keys.
        """
        end = transfer.expires_at
        if transfer.worker is not None:
            end = min(end, self._clock() + WORKER_TOKEN_LIFETIME)
        token, grant = issue(
            key=self._keys.signing_key(),
            scope=_SCOPES[transfer.direction],
            subject=transfer.transfer_id,
            expires_at=end,
            audience=audience_of(transfer.worker),
            clock=self._clock,
        )
        return token, grant.expires_at

    def check(self, token: str, transfer_id: str, direction: Direction, worker: str | None) -> Grant:
        """Return the grant of *token*. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`.

        *worker* is the transfer's, as the catalogue has it: the token of a worker that lost the transfer is not valid.
        """
        return check(
            token,
            keys=self._keys.verifying_keys(),
            scope=_SCOPES[direction],
            subject=transfer_id,
            audience=audience_of(worker),
            leeway=MAX_LEEWAY,
            clock=self._clock,
        )
