"""Sessions of workers: short-lived tokens that only the holder of a worker's key can read.

A session is a signed token (`blocks.links.tokens`) for one worker, sealed for its public key. Asking for one needs no
credential, because only the worker can open the answer. Whether it is revoked is the catalogue's to say, at each use.
"""

from __future__ import annotations

from datetime import timedelta

from blocks.age import X25519Recipient, seal
from blocks.errors import InvalidOptions, LinkInvalid
from blocks.links import LinkKeys
from blocks.links.tokens import MAX_LEEWAY, audience_of_worker, check, claimed, issue
from blocks.runtime.clock import Clock, utc_now
from blocks.workers.worker import Worker, check_worker_name

SCOPE = "worker-session"

# A worker asks for the next one in time; a token that leaked is soon worth nothing.
SESSION_LIFETIME = timedelta(minutes=15)


def seal_session(worker: Worker, keys: LinkKeys, *, clock: Clock = utc_now) -> bytes:
    """Return a fresh session as an age file for the worker's key. Raises `InvalidSettings` without signing keys."""
    token, _ = issue(
        key=keys.signing_key(),
        scope=SCOPE,
        subject=worker.name,
        expires_at=clock() + SESSION_LIFETIME,
        audience=audience_of_worker(worker.name),
        clock=clock,
    )
    return b"".join(seal([token.encode()], [X25519Recipient.from_text(worker.recipient)]))


def check_session(token: str, keys: LinkKeys, *, clock: Clock = utc_now) -> str:
    """Return the name of the worker whose session *token* is. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`.

    The name that the token claims only says what it is checked against: subject and audience, both signed, must be it.
    """
    said = claimed(token)
    if said is None or said.scope != SCOPE:
        raise _invalid()
    try:
        name = check_worker_name(said.subject)
    except InvalidOptions as exc:
        raise _invalid() from exc
    grant = check(
        token,
        keys=keys.verifying_keys(),
        scope=SCOPE,
        subject=name,
        audience=audience_of_worker(name),
        leeway=MAX_LEEWAY,
        clock=clock,
    )
    return grant.subject


def _invalid() -> LinkInvalid:
    return LinkInvalid("this is not the session of a worker; ask for one")
