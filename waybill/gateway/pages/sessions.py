"""Sessions of the page: a signed token in a cookie, and the token that a form needs to be from this session.

A session names the API key that began it and ends after `SESSION_LASTS`. The browser keeps no key: cookies of a host
are sent to all its ports, so another program on the same machine may see the cookie, and then has a few hours instead
of a key. The key is looked up at each request, so a revoked key ends its sessions. Who has signed out is in the
catalogue (`blocks.access.ended_sessions`). All sessions end with ``waybill keys rotate-links --revoke``.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from blocks.errors import LinkExpired, LinkInvalid
from blocks.links import LinkKeys
from blocks.links.tokens import PAGE, PAGE_SESSION, check, claimed, issue
from blocks.runtime.clock import Clock, utc_now

# A working day: a browser that was left open is of no use to another person on the next one.
SESSION_LASTS = timedelta(hours=12)
# OWASP asks for 64 bits of randomness at least.
_ID_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Session:
    """A session of the API key *key_id*; *token* is what the cookie holds. Nothing can be done with *session_id*."""

    session_id: str
    key_id: str
    token: str = field(repr=False)
    expires_at: datetime

    @property
    def form_token(self) -> str:
        """What each form of this session holds. Other sites cannot know it: it is a hash of the cookie."""
        return hashlib.sha256(f"waybill form {self.token}".encode()).hexdigest()

    def is_from_here(self, form_token: str) -> bool:
        """Return whether *form_token* is of this session, in constant time."""
        return hmac.compare_digest(form_token.encode(), self.form_token.encode())


class Sessions:
    """Begins and reads sessions of the gateway at *base_url*. Blocks for a look at the file of *keys*."""

    def __init__(self, keys: LinkKeys, base_url: str, *, clock: Clock = utc_now) -> None:
        self._keys = keys
        self._clock = clock
        self.base_url = base_url
        self.is_secure = urlsplit(base_url).scheme == "https"
        # Gateways on other ports of the same host share its cookies: each has a name of its own.
        name = f"waybill-{hashlib.sha256(base_url.encode()).hexdigest()[:8]}"
        # Browsers take a cookie with this prefix only over https, for this host alone, and from no subdomain.
        self.cookie_name = f"__Host-{name}" if self.is_secure else name

    def begin(self, key_id: str) -> Session:
        """Return a new session, whatever the browser had before. Raises `InvalidSettings` without signing keys."""
        subject = f"{key_id}.{secrets.token_hex(_ID_BYTES)}"
        token, grant = issue(
            key=self._keys.signing_key(),
            scope=PAGE_SESSION,
            subject=subject,
            expires_at=self._clock() + SESSION_LASTS,
            audience=PAGE,
            clock=self._clock,
        )
        return Session(session_id=subject, key_id=key_id, token=token, expires_at=grant.expires_at)

    def read(self, token: str) -> Session | None:
        """Return the session of *token*, which may have been ended; None when it is none or has expired."""
        names = claimed(token)
        if names is None or names.scope != PAGE_SESSION:
            return None
        try:
            grant = check(
                token,
                keys=self._keys.verifying_keys(),
                scope=PAGE_SESSION,
                subject=names.subject,
                audience=PAGE,
                clock=self._clock,
            )
        except (LinkInvalid, LinkExpired):
            return None
        key_id, _, _ = grant.subject.partition(".")
        return Session(session_id=grant.subject, key_id=key_id, token=token, expires_at=grant.expires_at)
